"""Every verb as a Python call, by everybody: what the table says happens, and where it says no, nothing does."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from mlops.errors import Forbidden, NotFound
from mlops.types import Grant, Scope
from mlops.verbs import Verb
from tests.policies.case import Case, all_cases
from tests.policies.observing import Asked, Writes, forget
from tests.policies.people import World
from tests.policies.registered import verbs
from tests.policies.table import READING, Person, may, scope_of

pytestmark = pytest.mark.django_db

RUNNING = {"execute_program", "aexecute_program", "stream_execution", "replay_execution"}
"""They run on the loop of this process: test_executing asks them."""

ALSO_NEEDED = {"rotate_token": set(Scope)}
"""The token that is rotated has all scopes, and none makes one that may do more than itself."""


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb.name not in RUNNING], ids=lambda verb: verb.name)
def test_verb(verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.create(in_browsers=False)
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
    prove_scope(world, verb, case, max(allowed, key=list(Person).index))


def prove_scope(world: World, verb: Verb, case: Case, person: Person) -> None:
    """Of the scopes of a token it is the one of the matrix that the verb needs."""
    needed = scope_of(verb.name)
    without = asked_with(world, verb, case, person, set(Scope) - {needed})
    assert without == f"token_scope_missing: {needed}"
    assert asked_with(world, verb, case, person, {needed, Scope.READ} | ALSO_NEEDED.get(verb.name, set())) == "done"


def asked_with(world: World, verb: Verb, case: Case, person: Person, scopes: set[Scope]) -> str:
    """What becomes of it when `person` comes with a token of these scopes; nothing is kept."""
    forget()
    actor: Any = world.actor(person)
    actor.grant = Grant(actor.api_tokens.earliest("pk").pk, frozenset(scopes))
    with transaction.atomic(), Writes() as writes:
        try:
            verb.function(actor=actor, **case.arguments)
            outcome = "done"
        except Forbidden as error:
            outcome = f"{error.code}: {error.extra.get('scope')}"
            assert not writes, f"refused after {writes}"
        transaction.set_rollback(True)
    return outcome
