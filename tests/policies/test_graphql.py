"""Every mutation, by everybody: whom the table names gets it done, all others change nothing. Every list, by everybody:
it holds what `visible_to` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import pytest
from django.db import models, transaction
from graphene.utils.str_converters import to_camel_case

from config.graphql import Mutation, Query
from mlops.graphql.lists import Rows
from mlops.graphql.verbs import VerbMutation
from tests.policies.case import Case, all_cases
from tests.policies.observing import Asked, Writes, forget
from tests.policies.people import World
from tests.policies.table import READING, Person, may

pytestmark = pytest.mark.django_db

RUNNING = {"execute_program", "replay_execution"}
"""They run on the loop of this process: test_executing asks them."""

MUTATIONS = {name: field for name, field in Mutation._meta.fields.items() if field.verb.name not in RUNNING}
LISTS = {name: field for name, field in Query._meta.fields.items() if isinstance(field, Rows)}


def sent(value: Any) -> Any:
    """An argument of a service as an input: rows by their ids, values by their fields."""
    if isinstance(value, models.Model):
        return str(value.pk)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {to_camel_case(one.name): sent(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, list | tuple):
        return [sent(one) for one in value]
    return value


def input_of(name: str, case: Case) -> dict[str, Any]:
    own = f"mutation {to_camel_case(name)}" in all_cases()
    return dict(case.body) if own else {to_camel_case(one): sent(value) for one, value in case.arguments.items()}


def asked_for(world: World, person: Person, name: str, input: Mapping[str, Any]) -> Any:
    title = "".join(part.capitalize() for part in name.split("_"))
    document = f"mutation M($input: {title}Input!) {{ {to_camel_case(name)}(input: $input) {{ errors {{ code }} }} }}"
    return world.api(person).post("/graphql/", {"query": document, "variables": {"input": input}}, format="json")


def is_refusal(answer: Any, name: str) -> bool:
    if answer.status_code == 401:
        return True
    assert answer.status_code == 200, answer.content[:500]
    told = answer.json()
    assert "errors" not in told, told["errors"]
    codes = [error["code"] for error in told["data"][to_camel_case(name)]["errors"]]
    if not codes:
        return False
    assert all(code.endswith(("_forbidden", "_not_found")) for code in codes), codes
    return True


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation: VerbMutation = MUTATIONS[name]
    verb, world, cases = mutation.verb, World.create(in_browsers=False), all_cases()
    edge = f"mutation {to_camel_case(name)}"
    case = cases.get(edge, cases[verb.name])(world)
    input, asked, allowed = input_of(name, case), Asked(monkeypatch), set()
    for person in Person:
        forget()
        with transaction.atomic(), Writes() as writes:
            answer = asked_for(world, person, name, input)
            transaction.set_rollback(True)
        if is_refusal(answer, name):
            assert not writes, f"{person} was refused after {writes}"
            continue
        allowed.add(person)
        assert writes or verb.name in READING, f"{person} changed nothing"
        assert asked.has(verb.policy, verb.action), f"{person} was not asked for the right"
    assert allowed == may(verb.name, edge)


@pytest.mark.parametrize("name", LISTS)
def test_list(name: str) -> None:
    world = World.create(in_browsers=False)
    world.program("production")
    world.program("testing")
    rows: Any = LISTS[name].record._meta.model._default_manager
    document = f"{{ {to_camel_case(name)}(first: 200) {{ edges {{ node {{ id }} }} }} }}"
    for person in Person:
        answer = world.api(person).post("/graphql/", {"query": document}, format="json")
        if person in (Person.ANONYMOUS, Person.DEACTIVATED):
            assert answer.status_code == 401
            continue
        found = {edge["node"]["id"] for edge in answer.json()["data"][to_camel_case(name)]["edges"]}
        assert found == {str(key) for key in rows.visible_to(world.actor(person)).values_list("pk", flat=True)}
