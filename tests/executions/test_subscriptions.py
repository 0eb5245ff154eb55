"""What subscribers are told of rows: read once for all of them, and by everybody's own rights."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from executions.models import Execution
from mlops.graphql import connected, snapshots
from mlops.graphql.executing import executed
from mlops.graphql.snapshots import Snapshots
from mlops.models import User
from mlops.services.database import off_the_loop
from mlops.services.nudges import nudge
from tests.executions.rows import make_prompt_set, new_execution
from tests.factories import make_token
from tests.sockets import Conversation

pytestmark = pytest.mark.django_db(transaction=True)

UPDATES = "subscription($id: ID!) { executionUpdates(executionId: $id) { state output program { name } } }"


def execution_of(user: User) -> Execution:
    row = new_execution(user, make_prompt_set(), mode="async")
    row.save()
    return row


async def finish(row: Execution) -> None:
    values = {"state": "completed", "revision": 2, "output": {"answer": "because"}}
    await off_the_loop(lambda: Execution.objects.filter(pk=row.pk).update(**values))
    nudge(Execution)


async def follow(stack: AsyncExitStack, token: str, row: Execution, query: str = UPDATES) -> Conversation:
    one = await stack.enter_async_context(Conversation())
    await one.introduce(token)
    one.subscribe(query, variables={"id": str(row.pk)})
    assert (await one.hear())["type"] == "next"
    return one


async def told(one: Conversation) -> Any:
    return (await one.hear())["payload"]["data"]["executionUpdates"]


def test_what_belongs_to_a_row_is_shown_to_those_who_may_see_it(
    erin: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same reading of the row is told to the engineer, then to its owner, who may not see the program."""
    monkeypatch.setattr(snapshots, "FRESH_S", 60)
    row = execution_of(bob)
    tokens = [make_token(user)[1] for user in (erin, bob)]

    async def listen() -> list[Any]:
        await finish(row)
        heard = []
        for token in tokens:
            async with Conversation() as one:
                await one.introduce(token)
                one.subscribe(UPDATES, variables={"id": str(row.pk)})
                heard.append(await told(one))
        return heard

    output = {"state": "completed", "output": {"answer": "because"}}
    assert asyncio.run(listen()) == [{**output, "program": {"name": "stored"}}, {**output, "program": None}]


def test_many_who_ask_the_same_are_told_by_one_reading(erin: User, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    row, other = execution_of(bob), "subscription($id: ID!) { executionUpdates(executionId: $id) { state } }"
    tokens = [make_token(user)[1] for user in (erin, bob)]
    counted: list[str] = []

    def count(name: str, call: Any) -> Any:
        return lambda *given, **named: counted.append(name) or call(*given, **named)  # type: ignore[func-returns-value]

    async def listen() -> list[Any]:
        async with AsyncExitStack() as stack:
            everybody = [await follow(stack, token, row) for token in tokens for _ in range(5)]
            everybody += [await follow(stack, tokens[0], row, other) for _ in range(3)]
            monkeypatch.setattr(Snapshots, "_rows", count("read", Snapshots._rows))
            monkeypatch.setattr("mlops.graphql.operations.executed", count("executed", executed))
            await finish(row)
            return [(await told(one))["state"] for one in everybody]

    assert asyncio.run(listen()) == ["completed"] * 13
    assert sorted(counted) == ["executed"] * 3 + ["read"]  # by two people, one of whom asks something else too


def test_a_right_that_is_lost_and_one_that_never_was_are_refused_alike(
    erin: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connected, "RENEW_S", 0.05)
    row, token = execution_of(bob), make_token(erin)[1]
    of_program = "subscription($id: ID!) { executionUpdates(programId: $id) { state } }"

    async def listen() -> list[Any]:
        async with Conversation() as one:
            await one.introduce(token)
            for id, query, key in (("1", UPDATES, row.pk), ("2", of_program, row.program_id)):
                one.subscribe(query, id, variables={"id": str(key)})
                assert (await one.hear())["type"] == "next"
            await off_the_loop(lambda: User.objects.filter(pk=erin.pk).update(role="ml_user"))
            refused = [await one.hear() for _lost in range(2)]
            for id, query, key in (("1", UPDATES, row.pk), ("2", of_program, row.program_id)):
                one.subscribe(query, id, variables={"id": str(key)})
                refused.append(await one.hear())
            told = {(answer["id"], *_refusal(answer)) for answer in refused}
            return sorted(told)

    assert asyncio.run(listen()) == [
        ("1", "execution_not_found", "There is no such execution."),
        ("2", "program_not_found", "There is no such program."),
    ]


def _refusal(answer: Any) -> tuple[str, str]:
    (error,) = answer["payload"]
    return error["extensions"]["code"], error["message"]
