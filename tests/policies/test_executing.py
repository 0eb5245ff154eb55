"""Executing and replaying, by everybody and at every edge: they run on the loop of this process, so nothing is rolled
back here. The example matcher answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.urls import reverse
from rest_framework.test import APIClient

from executions.models import Execution
from executions.services import aexecute_program, execute_program, planning, process, replay_execution, stream_execution
from executions.types import Mode
from mlops.errors import DomainError, Forbidden, InsufficientCredits, NotFound
from mlops.models import CreditEntry, User
from mlops.types import Scope
from programs.models import Program
from tests.executions.chatting import chat, sent
from tests.executions.test_rest import through_the_lean_route
from tests.factories import make_token
from tests.optimizations.compiling import matcher
from tests.policies.case import Case
from tests.policies.cases.executions import completed
from tests.policies.people import World
from tests.policies.table import ENGINEERS, EVERYBODY, INSIDE, OWN, STAFF, Person, Persons, may, scope_of

pytestmark = pytest.mark.django_db(transaction=True)

INPUT = {"message": "lost"}
ASYNC = {"input": INPUT, "options": {"mode": "async"}}
REFUSED = (401, 402, 403, 404)


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    planning.forget()
    matcher()
    yield World.create()
    process.stop_thread()
    planning.forget()


def called(call: Callable[[], object]) -> bool:
    """Whether it was not refused; what else goes wrong is an error."""
    try:
        call()
    except (Forbidden, NotFound, InsufficientCredits):
        return False
    except DomainError as error:
        raise AssertionError(error.code) from error
    return True


def answered(status: int) -> bool:
    assert status in (*REFUSED, 200, 202), status
    return status not in REFUSED


def in_python(world: World, person: Person, program: Program) -> bool:
    actor: Any = world.actor(person)
    return called(lambda: execute_program(actor=actor, program=program, input=INPUT, mode=Mode.ASYNC))


def on_a_loop(world: World, person: Person, program: Program) -> bool:
    actor: Any = world.actor(person)
    arguments: dict[str, Any] = {"program": program, "input": INPUT, "mode": "async"}
    return called(lambda: async_to_sync(aexecute_program)(actor=actor, **arguments))


def read_in_python(world: World, person: Person, program: Program) -> bool:
    actor: Any = world.actor(person)

    async def read() -> None:
        async for _item in stream_execution(actor=actor, program=program, input=INPUT):
            pass

    return called(async_to_sync(read))


def over_rest(world: World, person: Person, program: Program) -> bool:
    address = f"/api/v1/programs/{program.pk}/execute/"
    return answered(world.api(person).post(address, ASYNC, format="json").status_code)


def over_the_lean_route(world: World, person: Person, program: Program) -> bool:
    raw = b'{"input": {"message": "lost"}, "options": {"mode": "async"}}'
    token = world.tokens.get(person, "signet_of_nobody")
    return answered(through_the_lean_route(token, f"/api/v1/programs/{program.pk}/execute/", raw).status)


def over_chat_completions(world: World, person: Person, program: Program) -> bool:
    return chatted(world, person, program)


def over_streamed_chat_completions(world: World, person: Person, program: Program) -> bool:
    return chatted(world, person, program, stream=True)


def chatted(world: World, person: Person, program: Program, **members: Any) -> bool:
    token = world.tokens.get(person, "signet_of_nobody")
    return answered(sent(token, chat(INPUT["message"], f"program:{program.pk}", **members)).status)


def in_the_admin(world: World, person: Person, program: Program) -> bool:
    """The form waits for the answer and goes to the execution, or back to where the person came from."""
    address = reverse("admin:executions_execution_execute", args=[program.pk])
    answer = world.browsers[person].post(address, {"input-message": "lost"})
    assert answer.status_code in (302, 403), answer.status_code
    return "/executions/execution/" in answer.headers.get("Location", "").partition("?")[0]


EDGES = (in_python, on_a_loop, read_in_python, over_rest, over_the_lean_route, in_the_admin)
SITUATIONS: Mapping[str, tuple[Persons, dict[str, Any]]] = {
    "in production, limited to a group": (OWN, {"status": "production"}),
    "in production, for all": (EVERYBODY, {"status": "production", "group": None}),
    "a draft, limited to a group": (INSIDE, {}),
    "a draft, for all": (ENGINEERS, {"group": None}),
}


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.__name__)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_execute(situation: str, edge: Callable[[World, Person, Program], bool], world: World) -> None:
    expected, fields = SITUATIONS[situation]
    program = world.program(**fields)
    allowed = {person for person in Person if edge(world, person, program)}

    assert allowed == (expected & STAFF if edge is in_the_admin else expected)
    assert set(Execution.objects.values_list("user", flat=True)) == {world.users[person].pk for person in allowed}
    assert Execution.objects.count() == len(allowed)
    if fields == SITUATIONS["in production, limited to a group"][1]:
        assert expected == may("execute_program") == may("aexecute_program") == may("stream_execution")


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.__name__)
def test_credits_stop_users_only(edge: Callable[[World, Person, Program], bool], world: World) -> None:
    program = world.program("production", group=None, credits_per_execution=10)
    CreditEntry.objects.all().delete()
    User.objects.update(ml_credits=0)
    allowed = {person for person in Person if edge(world, person, program)}

    assert allowed == ENGINEERS
    assert set(Execution.objects.values_list("user", flat=True)) == {world.users[person].pk for person in allowed}


def replayed_in_python(world: World, person: Person, case: Case) -> bool:
    actor: Any = world.actor(person)
    return called(lambda: replay_execution(actor=actor, **case.arguments))


def replayed_over_rest(world: World, person: Person, case: Case) -> bool:
    assert case.row is not None
    return answered(world.api(person).post(f"/api/v1/executions/{case.row.pk}/replay/", {}, format="json").status_code)


def replayed_in_the_admin(world: World, person: Person, case: Case) -> bool:
    assert case.row is not None
    before = Execution.objects.count()
    address = reverse("admin:executions_execution_replay", args=[case.row.pk])
    assert world.browsers[person].post(address, {"_form_submitted": "true"}).status_code in (302, 403, 404)
    return Execution.objects.count() > before


@pytest.mark.parametrize("edge", [replayed_in_python, replayed_over_rest, replayed_in_the_admin])
def test_replay(edge: Callable[[World, Person, Case], bool], world: World) -> None:
    row = completed(world)
    case = Case({"execution": row}, row)
    allowed = {person for person in Person if edge(world, person, case)}

    assert allowed == (may("replay_execution") & STAFF if edge is replayed_in_the_admin else may("replay_execution"))
    again = Execution.objects.filter(replay_of=row.pk)
    assert set(again.values_list("user", flat=True)) == {world.users[person].pk for person in allowed}
    assert again.count() == len(allowed)


@pytest.mark.parametrize("verb", ["execute", "replay"])
def test_the_scope_that_executing_needs(verb: str, world: World) -> None:
    row = completed(world)
    of_row = {"execute": f"programs/{row.program_id}", "replay": f"executions/{row.pk}"}[verb]

    def asked_with(scopes: set[Scope]) -> Any:
        raw = make_token(world.owner, scopes=sorted(scopes))[1]
        client = APIClient(headers={"Authorization": f"Bearer {raw}"})
        body = ASYNC if verb == "execute" else {}
        return client.post(f"/api/v1/{of_row}/{verb}/", body, format="json")

    refused = asked_with(set(Scope) - {Scope.EXECUTE})
    assert (refused.status_code, refused.json()["code"], refused.json()["scope"]) == (
        403,
        "token_scope_missing",
        scope_of(f"{verb}_program" if verb == "execute" else f"{verb}_execution"),
    )
    assert Execution.objects.count() == 1
    assert asked_with({Scope.EXECUTE}).status_code in (200, 202)
    assert Execution.objects.count() == 2
