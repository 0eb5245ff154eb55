"""What settings register is looked at when the process starts."""

from __future__ import annotations

import pytest
from django.test import override_settings

from executions.checks import registrations


def test_the_settings_as_they_are_can_be_loaded() -> None:
    assert registrations() == []


@pytest.mark.parametrize(
    ("setting", "registered", "code", "said"),
    [
        ("SIGNET_TOOLS", {"lost": "nowhere.at.all:tool"}, "executions.E001", "lost"),
        ("SIGNET_TOOLS", {"plain": "json:dumps"}, "executions.E001", "@tool"),
        ("SIGNET_MODULES", {"odd": "json:dumps"}, "executions.E002", "dspy.Module"),
        ("SIGNET_METRICS", {"odd": "json:dumps"}, "executions.E003", "@metric"),
    ],
)
def test_what_cannot_be_loaded_is_named(setting: str, registered: dict[str, str], code: str, said: str) -> None:
    with override_settings(**{setting: registered}):
        (error,) = registrations()
    assert error.id == code
    assert said in error.msg
    assert setting in str(error.hint)
