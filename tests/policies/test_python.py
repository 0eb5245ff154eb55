"""Every verb as a Python call, by everybody: what the table says happens, and where it says no, nothing does."""

from __future__ import annotations

import pytest
from django.db import transaction

from mlops.errors import Forbidden, NotFound
from mlops.verbs import Verb
from tests.policies.case import all_cases
from tests.policies.observing import Asked, Writes, forget
from tests.policies.people import World
from tests.policies.registered import verbs
from tests.policies.table import READING, Person, may

pytestmark = pytest.mark.django_db

RUNNING = {"execute_program", "aexecute_program", "replay_execution"}
"""They run on the loop of this process: test_executing asks them."""


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb.name not in RUNNING], ids=lambda verb: verb.name)
def test_verb(verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.create()
    case = all_cases()[verb.name](world)
    asked = Asked(monkeypatch)
    allowed = set()
    for person in Person:
        forget()
        with transaction.atomic(), Writes() as writes:
            try:
                verb.function(actor=world.actor(person), **case.arguments)
                allowed.add(person)
                assert writes or verb.name in READING, f"{person} changed nothing"
            except (Forbidden, NotFound):
                assert not writes, f"{person} was refused after {writes}"
            transaction.set_rollback(True)
        assert asked.has(verb.policy, verb.action) or person not in allowed, f"{person} was not asked for the right"
    assert allowed == may(verb.name)
