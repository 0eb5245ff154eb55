"""What tests that really compile share: a provider on loopback, and this process's loop, ended after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executions.services import planning, process
from tests.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh_plans() -> Iterator[None]:
    planning.forget()
    yield
    process.stop_thread()
    planning.forget()
