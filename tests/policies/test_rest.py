"""Every REST address that calls a verb, by everybody: whom the table names gets it done, all others change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.base import File
from django.db import transaction

from tests.policies.case import Case, all_cases
from tests.policies.edges import Edge, rest_edges
from tests.policies.observing import Asked, Writes, forget
from tests.policies.people import World
from tests.policies.registered import verbs
from tests.policies.table import READING, Person, may

pytestmark = pytest.mark.django_db

REFUSED = (401, 403, 404)
NAMED_IN_THE_BODY = {
    "POST /api/v1/feedback/",
    "POST /api/v1/modules/",
    "POST /api/v1/connections/",
    "POST /api/v1/prompt-versions/",
}
"""The row that is acted on: a reference of a body to nothing, or to what is not theirs, is a 400 at its field."""
KNOWN_LATER = {"revert", "rotate_token"}
"""Verbs whose right follows from the row or from the way back: those who may for other rows hear it after the body."""
IN_TRANSACTIONS = {"execute_program", "replay_execution"}
"""They run on the loop of this process: test_executing asks them."""


def edges() -> list[Edge]:
    return [edge for edge in rest_edges() if edge.verbs and edge.verbs[0] not in IN_TRANSACTIONS]


def is_refusal(edge: Edge, answer: Any) -> bool:
    is_unknown = answer.status_code == 400 and answer.json()["code"].endswith("_not_found")
    return answer.status_code in REFUSED or (edge.name in NAMED_IN_THE_BODY and is_unknown)


def sent(world: World, person: Person, edge: Edge, case: Case, body: Any = None) -> Any:
    """What the edge answers to the case, or to another body."""
    method, address = edge.name.split(" ")
    names = {"pk": case.row and case.row.pk, "ref": case.row and case.row.pk, **case.address}
    content = case.body if body is None else body
    has_file = any(isinstance(value, File) for value in case.body.values())
    for value in case.body.values():
        if isinstance(value, File):
            value.seek(0)
    call = getattr(world.api(person), method.lower())
    if method == "GET":
        return call(address.format(**names), case.query)
    return call(address.format(**names), content, format="multipart" if has_file else "json")


@pytest.mark.parametrize("edge", edges(), ids=lambda edge: edge.name)
def test_edge(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    name = edge.verbs[0]
    verb = next(verb for verb in verbs() if verb.name == name)
    world = World.create(in_browsers=False)
    cases = all_cases()
    case = cases.get(edge.name, cases[name])(world)
    asked = Asked(monkeypatch)
    allowed = set()
    for person in Person:
        forget()
        with transaction.atomic(), Writes() as writes:
            answer = sent(world, person, edge, case)
            transaction.set_rollback(True)
        if is_refusal(edge, answer):
            assert not writes, f"{person} was refused after {writes}"
            continue
        allowed.add(person)
        assert 200 <= answer.status_code < 300, f"{person}: {answer.status_code} {answer.content[:300]!r}"
        assert writes or name in READING, f"{person} changed nothing"
        assert asked.has(verb.policy, verb.action), f"{person} was not asked for the right"
    assert allowed == may(name, edge.name)


@pytest.mark.parametrize(
    "edge", [edge for edge in edges() if edge.name.startswith(("POST", "PATCH"))], ids=lambda edge: edge.name
)
def test_the_right_comes_before_the_body(edge: Edge) -> None:
    """Whoever may not hears that, and not what is wrong with what they sent."""
    world = World.create(in_browsers=False)
    cases = all_cases()
    case = cases.get(edge.name, cases[edge.verbs[0]])(world)
    verb = next(verb for verb in verbs() if verb.name == edge.verbs[0])
    is_later = edge.name in NAMED_IN_THE_BODY or verb.name in KNOWN_LATER
    for person in set(Person) - may(verb.name, edge.name):
        if is_later and verb.policy.can(world.actor(person), verb.action):
            continue
        forget()
        answer = sent(world, person, edge, case, {"no such field": 1})
        assert answer.status_code in REFUSED, f"{person}: {answer.status_code} {answer.content[:300]!r}"
