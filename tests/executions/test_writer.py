"""The group-commit writer: durable, in order, exactly once, and no row harms its neighbours."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from executions.models import Execution
from executions.services import writer as writer_module
from executions.services.writer import Finish, GroupWriter, Job, Start
from executions.types import RunError
from mlops.errors import InsufficientCredits
from mlops.models import CreditEntry, IdempotencyRecord, User
from mlops.selectors import proven_balance
from tests.executions.rows import make_prompt_set, new_execution, result, started
from tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)


def store(*jobs: Job) -> list[bool | BaseException]:
    """Outcomes of `jobs`, handed to one writer at once."""

    async def work() -> list[bool | BaseException]:
        writer = GroupWriter()
        writer.start()
        outcomes = await asyncio.gather(*(writer.store(job) for job in jobs), return_exceptions=True)
        await writer.stop()
        return outcomes

    return asyncio.run(work())


def test_start_and_finish_are_stored_with_every_column() -> None:
    user, prompt_set = make_user(), make_prompt_set()
    execution = started(new_execution(user, prompt_set, input={"question": "wörter \N{SNOWMAN}"}, assignment_key="k"))
    assert store(Start(execution, is_limited=False)) == [True]
    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.input, row.attempt, row.lease_token) == (
        "running", {"question": "wörter \N{SNOWMAN}"}, 1, execution.lease_token,
    )  # fmt: skip
    execution.complete(result(flags=("unstorable_replaced",)))
    assert store(Finish(execution)) == [True]
    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.output, row.cost, row.total_tokens) == ("completed", {"answer": "because"}, 1_000_000, 15)
    assert row.flags == ["unstorable_replaced"]
    assert row.finished_at == execution.finished_at
    assert row.token_usage["by_model"]["openai/test"]["input"] == 10


def test_an_end_and_its_start_may_come_in_one_batch() -> None:
    execution = started(new_execution(make_user(), make_prompt_set()))
    start = Start(execution, is_limited=False)
    assert store(start) == [True]
    execution.fail(RunError("timeout", "Too slow."))
    assert store(Finish(execution), Finish(execution)) == [True, True]
    assert Execution.objects.get(pk=execution.pk).error_code == "timeout"


def test_late_writer_is_discarded_and_charges_nothing() -> None:
    user = make_user(credits=1)
    execution = started(new_execution(user, make_prompt_set(), credits_reserved=1000))
    store(Start(execution, is_limited=True))
    Execution.objects.filter(pk=execution.pk).update(lease_token=uuid.uuid4())
    execution.complete(result())
    execution.credits_used = 700
    assert store(Finish(execution)) == [False]
    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.output) == ("running", None)
    assert list(CreditEntry.objects.filter(subject_id=execution.pk).values_list("kind", flat=True)) == ["reserve"]


def test_the_end_of_a_lost_attempt_beside_the_right_one_charges_nothing() -> None:
    user = make_user(credits=1)
    lost = started(new_execution(user, make_prompt_set(), credits_reserved=1000))
    store(Start(lost, is_limited=True))
    Execution.objects.filter(pk=lost.pk).update(lease_token=uuid.uuid4())
    mine = Execution.objects.get(pk=lost.pk)
    for execution, used in ((lost, 900), (mine, 700)):
        execution.complete(result())
        execution.credits_used = used

    assert writer_module._stored([Finish(lost), Finish(mine)]) == [False, True]

    assert Execution.objects.get(pk=lost.pk).credits_used == 700
    assert CreditEntry.objects.get(kind="settle").used == 700
    user.refresh_from_db()
    assert user.ml_credits == 1_000_000 - 700 == proven_balance(user)


def test_repeating_an_end_charges_once() -> None:
    user = make_user(credits=1)
    execution = started(new_execution(user, make_prompt_set(), credits_reserved=1000))
    store(Start(execution, is_limited=True))
    execution.complete(result())
    execution.credits_used = 700
    assert store(Finish(execution)) == [True]
    assert store(Finish(execution)) == [True]
    entries = CreditEntry.objects.filter(subject_id=execution.pk).order_by("pk")
    assert [(entry.kind, entry.amount, entry.used) for entry in entries] == [
        ("reserve", -1000, 0),
        ("settle", 300, 700),
    ]
    user.refresh_from_db()
    assert user.ml_credits == 1_000_000 - 700 == proven_balance(user)


def test_credits_admit_in_order_until_they_are_used_up() -> None:
    user = make_user(credits=1)
    prompt_set = make_prompt_set()
    executions = [started(new_execution(user, prompt_set, credits_reserved=300_000)) for _ in range(5)]
    outcomes = store(*(Start(execution, is_limited=True) for execution in executions))
    assert outcomes[:3] == [True, True, True]
    assert [type(outcome) for outcome in outcomes[3:]] == [InsufficientCredits, InsufficientCredits]
    assert Execution.objects.count() == 3
    user.refresh_from_db()
    assert user.ml_credits == 100_000 == proven_balance(user)


def test_no_credits_refuse_even_what_costs_nothing_but_engineers_go_below_zero() -> None:
    poor, engineer, prompt_set = make_user(), make_user("ml_engineer"), make_prompt_set()
    refused, admitted = new_execution(poor, prompt_set), new_execution(engineer, prompt_set, credits_reserved=500)
    outcomes = store(Start(refused, is_limited=True), Start(admitted, is_limited=False))
    assert isinstance(outcomes[0], InsufficientCredits)
    assert outcomes[1] is True
    engineer.refresh_from_db()
    assert engineer.ml_credits == -500
    assert not Execution.objects.filter(pk=refused.pk).exists()


def record(user: User, execution: Execution, key: str) -> IdempotencyRecord:
    now = timezone.now()
    times = {"created_at": now, "expires_at": now + timedelta(hours=24)}
    return IdempotencyRecord(user=user, key=key, digest="d", **times, **execution.subject)


def test_a_key_is_spent_once_within_a_batch_and_after_it() -> None:
    user, prompt_set = make_user(), make_prompt_set()
    executions = [started(new_execution(user, prompt_set)) for _ in range(20)]
    outcomes = store(*(Start(item, False, record(user, item, "same")) for item in executions))
    assert sorted(map(str, outcomes)) == ["False"] * 19 + ["True"]
    late = new_execution(user, prompt_set)
    assert store(Start(late, False, record(user, late, "same"))) == [False]
    assert Execution.objects.count() == 1
    assert IdempotencyRecord.objects.count() == 1


def test_a_key_that_has_expired_is_free_again() -> None:
    user, prompt_set = make_user(), make_prompt_set()
    first, second, third = (started(new_execution(user, prompt_set)) for _ in range(3))
    assert store(Start(first, False, record(user, first, "again"))) == [True]
    IdempotencyRecord.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert store(Start(second, False, record(user, second, "again"))) == [True]
    assert store(Start(third, False, record(user, third, "again"))) == [False]

    assert IdempotencyRecord.objects.get().subject_id == second.pk


def test_ends_give_back_before_starts_of_the_same_batch_are_admitted() -> None:
    user, prompt_set = make_user(credits=1), make_prompt_set()
    first = started(new_execution(user, prompt_set, credits_reserved=900_000))
    assert store(Start(first, is_limited=True)) == [True]
    first.complete(result())
    second = started(new_execution(user, prompt_set, credits_reserved=900_000))

    outcomes = writer_module._stored([Start(second, is_limited=True), Finish(first)])

    assert outcomes == [True, True]
    user.refresh_from_db()
    assert user.ml_credits == 100_000 == proven_balance(user)


def test_what_is_too_large_is_refused_alone() -> None:
    user, prompt_set = make_user(credits=1), make_prompt_set()
    sizes = [400_000, 700_000, 500_000, 200_000, 100_000]
    executions = [started(new_execution(user, prompt_set, credits_reserved=size)) for size in sizes]

    outcomes = writer_module._stored([Start(execution, is_limited=True) for execution in executions])

    assert [outcome is True for outcome in outcomes] == [True, False, True, False, True]
    user.refresh_from_db()
    assert user.ml_credits == 0 == proven_balance(user)


def test_a_poisoned_row_fails_alone() -> None:
    user, prompt_set = make_user(), make_prompt_set()
    executions = [started(new_execution(user, prompt_set)) for _ in range(9)]
    executions[4].assignment_key = "\ud800"  # no database can encode a lone surrogate
    outcomes = store(*(Start(execution, is_limited=False) for execution in executions))
    assert isinstance(outcomes[4], Exception)
    assert outcomes[:4] + outcomes[5:] == [True] * 8
    assert Execution.objects.count() == 8


def after_failing(times: int, commit: Callable[..., Any], *, commits_first: bool) -> Callable[..., Any]:
    """`commit`, but its answer (or the whole of it) is lost `times` times, as when a connection breaks."""
    lost = iter(range(times))

    def wrapped(jobs: Sequence[Job], is_repeated: bool) -> Any:
        if next(lost, None) is None:
            return commit(jobs, is_repeated)
        if commits_first:
            commit(jobs, is_repeated)
        raise OperationalError("server closed the connection unexpectedly")

    return wrapped


@pytest.mark.parametrize("commits_first", [False, True])
def test_a_lost_connection_is_tried_again_without_doubling(monkeypatch: Any, commits_first: bool) -> None:
    user = make_user(credits=1)
    execution = started(new_execution(user, make_prompt_set(), credits_reserved=600_000))
    commit = after_failing(2, writer_module._commit, commits_first=commits_first)
    monkeypatch.setattr(writer_module, "_commit", commit)
    assert store(Start(execution, True, record(user, execution, "k"))) == [True]
    user.refresh_from_db()
    assert user.ml_credits == 400_000 == proven_balance(user)
    assert Execution.objects.count() == 1


def test_a_full_backlog_refuses_new_work_only(monkeypatch: Any) -> None:
    monkeypatch.setattr(writer_module, "MAX_BACKLOG", 0)
    execution = started(new_execution(make_user(), make_prompt_set()))
    outcome = store(Start(execution, is_limited=False))[0]
    assert getattr(outcome, "code", "") == "saturated"
    assert not Execution.objects.exists()


def test_many_writers_move_one_balance_without_loss() -> None:
    user = make_user(credits=100)
    prompt_set = make_prompt_set()

    async def work() -> None:
        writers = [GroupWriter() for _ in range(4)]
        for item in writers:
            item.start()
        jobs: list[Coroutine[Any, Any, bool]] = []
        for number in range(200):
            execution = started(new_execution(user, prompt_set, credits_reserved=1000))
            jobs.append(writers[number % 4].store(Start(execution, is_limited=True)))
        assert await asyncio.gather(*jobs) == [True] * 200
        await asyncio.gather(*(item.stop() for item in writers))

    asyncio.run(work())
    user.refresh_from_db()
    assert user.ml_credits == 100_000_000 - 200_000 == proven_balance(user)
