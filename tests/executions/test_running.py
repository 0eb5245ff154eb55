"""While an execution runs: it can be stopped from elsewhere, is bounded, keeps what its program says, holds nothing."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone

from executions.models import Execution
from executions.services import planning, process
from executions.services.execute import aexecute_program, execute_program
from executions.services.process import ExecutionProcess
from executions.types import Mode
from mlops.errors import Forbidden, NotFound
from mlops.models import User
from mlops.runtime.recorder import MAX_TEXT, MAX_TRACE
from mlops.selectors import proven_balance
from mlops.services.database import DATABASE_THREADS
from mlops.types import Role
from programs.models import PromptVersion
from programs.services.prompts import create_prompt_version
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.provider import Provider, hang, status
from tests.provider.server import Behaviour, Exchange

pytestmark = pytest.mark.django_db(transaction=True)

WAITING = 300


def execute(actor: User, question: str = "Why?", **options: Any) -> Execution:
    execution = execute_program(actor=actor, program="answering", input={"question": question}, **options)
    return Execution.objects.get(pk=execution.pk)


# Ended from elsewhere


def test_another_process_cancels_through_the_row_alone(provider: Provider, worker: ExecutionProcess) -> None:
    provided_model(provider)
    make_program()
    user = make_user(credits=10)
    provider.script(hang())
    execution = execute(user, mode=Mode.ASYNC)
    eventually(lambda: provider.in_flight == 1)

    Execution.objects.filter(pk=execution.pk).update(cancel_requested_at=timezone.now())

    eventually(lambda: state_of(execution) == "cancelled")
    eventually(lambda: provider.in_flight == 0)
    row = Execution.objects.get(pk=execution.pk)
    assert (row.output, row.credits_used, row.error_code) == (None, 0, "")
    assert proven_balance(user) == 10_000_000


def test_who_waits_for_an_execution_that_was_taken_over_gets_the_row_as_it_is(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    provider.latency_s = 0.5

    def take_over() -> None:
        row = eventually(lambda: Execution.objects.filter(state="running").first())
        Execution.objects.filter(pk=row.pk).update(lease_token=uuid.uuid4(), leased_by="another process")
        connection.close()

    thief = threading.Thread(target=take_over)
    thief.start()
    answered = execute_program(actor=make_user(credits=10), program="answering", input={"question": "Why?"})
    thief.join()

    assert (answered.state, answered.leased_by, answered.output) == ("running", "another process", None)


def test_a_program_ends_at_its_deadline(provider: Provider) -> None:
    provided_model(provider)
    make_program(config={"deadline_s": 0.3})
    provider.script(hang())

    row = execute(make_user(credits=10))

    assert (row.state, row.error_code) == ("failed", "timeout")
    assert "0.3 s" in row.error_message
    eventually(lambda: provider.in_flight == 0)


# What is kept


@pytest.mark.parametrize(
    ("capture", "of_answers", "of_errors"),
    [("all", True, True), ("errors", False, True), ("none", False, False)],
)
def test_a_program_says_what_is_kept(provider: Provider, capture: str, of_answers: bool, of_errors: bool) -> None:
    provided_model(provider)
    make_program(config={"capture": capture})
    user = make_user(credits=10)
    answered = execute(user, "My secret?")
    provider.script(status(500))
    failed = execute(user, "My secret?")

    assert (answered.state, failed.state) == ("completed", "failed")
    for row, is_kept in ((answered, of_answers), (failed, of_errors)):
        assert row.trace is not None
        assert bool(row.input) is bool(row.trace["spans"]) is is_kept
        assert ("secret" in str([row.input, row.trace])) is is_kept
        assert row.trace.get("captured", True) is is_kept
    assert (answered.output is not None) is of_answers
    assert answered.total_tokens > 0
    assert answered.credits_used > 0


def test_a_trace_is_bounded_and_what_was_cut_is_marked(provider: Provider) -> None:
    provided_model(provider)
    make_program()

    row = execute(make_user(credits=1000), "x" * (3 * MAX_TEXT))

    assert row.trace is not None
    module, llm = row.trace["spans"]
    assert module["cut"] == ["input"]
    assert llm["cut"] == ["messages"]
    assert len(str(row.trace)) < 3 * MAX_TEXT < MAX_TRACE
    assert "[cut]" in str(module["input"])
    assert row.input == {"question": "x" * (3 * MAX_TEXT)}


def escaped(content: str) -> Behaviour:
    """An answer in ASCII JSON, which can say what UTF-8 cannot."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    body = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}

    async def behave(exchange: Exchange) -> None:
        exchange.send(200, json.dumps(body).encode())

    return behave


def test_what_no_database_keeps_is_replaced_in_an_answer_and_flagged(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    provider.script(escaped("[[ ## answer ## ]]\nbe\x00cause \ud800\n\n[[ ## completed ## ]]"))

    row = execute(make_user(credits=10))

    assert (row.state, row.output) == ("completed", {"answer": "be\ufffdcause \ufffd"})
    assert row.flags == ["unstorable_replaced"]
    assert "\x00" not in str(row.trace)


# Who may


def test_engineers_choose_a_language_model_and_users_do_not(provider: Provider) -> None:
    provided_model(provider)
    other = provided_model(provider, is_default=False)
    make_program()

    row = execute(make_user(Role.ML_ENGINEER.value), language_model=other.name)

    assert list(row.token_usage["by_model"]) == [other.name]
    assert row.requested_model == other.pk
    with pytest.raises(Forbidden):
        execute(make_user(credits=10), language_model=other.name)
    with pytest.raises(NotFound):
        execute(make_user(Role.ML_ENGINEER.value), language_model="openai/nothing")
    assert Execution.objects.count() == 1


def test_a_user_who_asks_at_the_same_time_as_an_engineer_gets_no_language_model_either(provider: Provider) -> None:
    provided_model(provider)
    other = provided_model(provider, is_default=False)
    make_program()
    actors = [make_user(Role.ML_ENGINEER.value), make_user(credits=10)]

    async def both() -> list[Any]:
        asked: dict[str, Any] = {"program": "answering", "input": {"question": "?"}, "language_model": other.name}
        return await asyncio.gather(
            *(aexecute_program(actor=actor, **asked) for actor in actors), return_exceptions=True
        )

    first, second = process.ensure_started().submit(both()).result(30)
    assert isinstance(first, Execution)
    assert isinstance(second, Forbidden)


def test_a_program_of_a_group_is_unknown_outside_of_it(provider: Provider) -> None:
    provided_model(provider)
    group = Group.objects.create(name="insiders")
    make_program(group=group)
    insider, stranger, engineer = make_user(credits=10), make_user(credits=10), make_user(Role.ML_ENGINEER.value)
    insider.groups.add(group)

    row = execute(insider)

    assert row.state == "completed"
    for outsider in (stranger, engineer):
        with pytest.raises(NotFound) as refusal:
            execute(outsider)
        assert refusal.value.code == "program_not_found"
        assert not Execution.objects.visible_to(outsider).exists()
    assert Execution.objects.visible_to(insider).get() == row
    insider.groups.clear()
    with pytest.raises(NotFound):
        execute(User.objects.get(pk=insider.pk))


# Several prompt versions


def test_prompt_versions_share_the_traffic_and_a_key_stays_with_its_own(provider: Provider) -> None:
    provided_model(provider)
    program = make_program()
    module = program.modules.get()
    admin, user = make_user(Role.ADMIN.value), make_user(credits=100)
    execute(user)  # the first version is there
    first = PromptVersion.objects.get()
    second = create_prompt_version(actor=admin, module=module, prompt_template="Answer in one word.")
    for version in (first, second):
        PromptVersion.objects.filter(pk=version.pk).update(traffic_percentage=50)
    planning.forget()

    drawn = {f"person-{number}": execute(user, assignment_key=f"person-{number}") for number in range(24)}
    again = {key: execute(user, assignment_key=key) for key in list(drawn)[:8]}

    assert {key: row.prompt_set_id for key, row in again.items()} == {key: drawn[key].prompt_set_id for key in again}
    assert len(Counter(row.prompt_set_id for row in drawn.values())) == 2
    asked = {"Answer in one word." in str(request.body) for request in provider.requests}
    assert asked == {True, False}


# Waiting holds nothing


def open_connections() -> int:
    """Connections to the test database, as the server or the operating system sees them."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return int(cursor.fetchone()[0])
    database = str(settings.DATABASES["default"]["NAME"])
    opened = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    return sum(target == database for target in opened)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files where the system lists them")
def test_hundreds_that_wait_for_a_model_hold_neither_threads_nor_connections(
    provider: Provider, worker: ExecutionProcess
) -> None:
    provided_model(provider, concurrency_limit=WAITING + 1, timeout_s=60, deadline_s=60)
    make_program()
    user = make_user(credits=1_000_000)
    asked: dict[str, Any] = {"actor": user, "program": "answering", "input": {"question": "?"}}

    async def many(count: int) -> list[Execution]:
        return list(await asyncio.gather(*(aexecute_program(**asked) for _ in range(count))))

    worker.submit(many(20)).result(60)  # every thread of the pool has been needed
    threads, connections = threading.active_count(), open_connections()
    provider.latency_s = 600
    waiting = worker.submit(many(WAITING))
    try:
        eventually(lambda: provider.in_flight == WAITING, within_s=60)

        assert Execution.objects.filter(state="running").count() == WAITING
        # The pool of the database may have been filling still; WAITING is far more than all of it.
        assert threading.active_count() <= threads + DATABASE_THREADS
        assert 0 < open_connections() <= connections + DATABASE_THREADS
    finally:
        Execution.objects.filter(state="running").update(cancel_requested_at=timezone.now())
    assert {execution.state for execution in waiting.result(60)} == {"cancelled"}
