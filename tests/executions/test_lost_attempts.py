"""Attempts whose answer nobody needs: what they were billed is counted once, and charged once where it is charged."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from executions.models import Execution, UsageDay
from executions.services import leases, process
from executions.services import running as running_module
from executions.services import writer as writer_module
from executions.services.cancel import cancel_execution
from executions.services.execute import execute_program
from executions.services.late import count_late, late_of
from executions.services.process import ExecutionProcess, executing
from executions.services.usage import count_usage
from executions.services.writer import Finish, Start
from executions.types import Mode, RunResult
from mlops.models import CreditEntry, User
from mlops.runtime.recorder import Recorder
from mlops.selectors import proven_balance
from mlops.services.credits import credits_for
from mlops.types import TokenUsage
from programs.models import PromptSet
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.executions.rows import make_prompt_set, new_execution, result, started
from tests.factories import make_user
from tests.installation import eventually
from tests.provider import Provider, hang, text

pytestmark = pytest.mark.django_db(transaction=True)

MODEL, COST = "openai/test", 1_000_000
CREDIT = 10**6
PAST = timedelta(seconds=-1)


def billed() -> RunResult:
    """What a model answered and was paid for."""
    return result(cost=COST, known_costs={MODEL: COST})


def told(execution: Execution) -> tuple[Any, ...]:
    """How an execution ended: state, cost, credits, and how its ledger lines end it."""
    row = Execution.objects.get(pk=execution.pk)
    lines = CreditEntry.objects.filter(subject_id=row.pk).exclude(kind="reserve")
    return row.state, row.cost, row.credits_used, list(lines.values_list("kind", "used"))


# Handed back, and ended before anybody ran it again


def handed_back(user: User, prompt_set: PromptSet, **fields: Any) -> Execution:
    """An execution whose worker stopped in good order after its model had answered once."""
    execution = started(new_execution(user, prompt_set, credits_reserved=CREDIT, **fields))
    assert writer_module._stored([Start(execution, is_limited=True)]) == [True]
    execution.note_usage(billed())
    assert leases.hand_back(execution)
    return execution


def cancelled(execution: Execution) -> None:
    cancel_execution(actor=execution.user, execution=execution)


def lost(execution: Execution) -> None:
    """Claimed for the last time, by somebody who disappears."""
    leases.claim(1, lease_token=uuid.uuid4(), lease_expires_at=timezone.now() + PAST, leased_by="doomed")
    Execution.objects.filter(pk=execution.pk).update(attempt=3)
    assert leases.sweep() == {"handed_back": 0, "ended": 1}


def nothing(execution: Execution) -> None:
    """It was its only attempt."""


@pytest.mark.parametrize(
    ("end", "fields", "state"),
    [(cancelled, {}, "cancelled"), (lost, {}, "failed"), (nothing, {"max_attempts": 1}, "failed")],
)
@pytest.mark.parametrize("credits_per_execution", [None, 5])
def test_what_was_billed_before_it_was_handed_back_is_charged_when_it_ends(
    end: Callable[[Execution], None], fields: Mapping[str, Any], state: str, credits_per_execution: int | None
) -> None:
    user = make_user(credits=10)
    prompt_set = make_prompt_set()
    prompt_set.program.credits_per_execution = credits_per_execution
    prompt_set.program.save()
    execution = handed_back(user, prompt_set, **fields)

    end(execution)

    owed = credits_for(COST) if credits_per_execution is None else 0  # its own credits are for answers only
    assert told(execution) == (state, COST, owed, [("settle" if owed else "release", owed)])
    assert proven_balance(user) == 10 * CREDIT - owed


def test_an_agent_that_is_stopped_is_charged_for_the_answers_it_had(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provided_model(provider, timeout_s=60, deadline_s=60)
    make_program()
    monkeypatch.setattr(executing, "DRAIN_S", 0.1)
    provider.script(text("none of the fields"), hang())  # an answer that is billed, then DSPy asks once more
    user = make_user(credits=10)
    execution = execute_program(actor=user, program="answering", input={"question": "?"}, mode=Mode.ASYNC)
    Execution.objects.filter(pk=execution.pk).update(max_attempts=1)
    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()
    eventually(lambda: len(provider.requests) == 2)

    process.stop_thread()

    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.error_code, row.token_usage["requests"]) == ("failed", "lease_lost", 1)
    assert row.cost
    assert row.credits_used == credits_for(row.cost) > 0
    assert proven_balance(user) == 10 * CREDIT - row.credits_used


def test_what_nobody_foresaw_keeps_and_charges_what_was_used(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = provided_model(provider)
    make_program()
    price, usage = model.prices.get().as_price(), TokenUsage(input=10, output=5, requests=1)

    async def broken(*arguments: Any, recorder: Recorder, **options: Any) -> RunResult:
        recorder.meter(model.name, usage, price)
        raise ZeroDivisionError

    monkeypatch.setattr(running_module, "run", broken)
    execution = execute_program(actor=make_user(credits=10), program="answering", input={"question": "?"})

    row = Execution.objects.get(pk=execution.pk)
    assert (row.error_code, row.total_tokens, row.cost, row.prices) == (
        "internal_error", 15, price.of(usage), [price.id],
    )  # fmt: skip
    owed = credits_for(price.of(usage))
    assert told(execution) == ("failed", price.of(usage), owed, [("settle", owed)])


def test_handing_back_again_is_known_for_what_it_is_and_a_lost_lease_too() -> None:
    """A commit may have succeeded though its answer was lost; what is in the row then must not be added to it again."""
    user, prompt_set = make_user(credits=10), make_prompt_set()
    execution = handed_back(user, prompt_set)
    assert leases.hand_back(execution) is True
    lease_end = timezone.now() + timedelta(minutes=1)
    leases.claim(1, lease_token=uuid.uuid4(), lease_expires_at=lease_end, leased_by="another")
    assert leases.hand_back(execution) is True
    assert state_of(execution) == "running"

    only = handed_back(user, make_prompt_set("once"), max_attempts=1)
    assert leases.hand_back(only) is True

    expired = started(new_execution(user, prompt_set), lease_s=-1)
    assert writer_module._stored([Start(expired, is_limited=True)]) == [True]
    leases.sweep()
    expired.note_usage(billed())
    assert leases.hand_back(expired) is False


# Late: ended after the lease was lost


def taken_over(execution: Execution) -> Execution:
    """The execution as another worker has it, after its lease has expired."""
    Execution.objects.filter(pk=execution.pk).update(lease_expires_at=timezone.now() + PAST)
    assert leases.sweep() == {"handed_back": 1, "ended": 0}
    lease_end = timezone.now() + timedelta(minutes=1)
    [mine] = leases.claim(1, lease_token=uuid.uuid4(), lease_expires_at=lease_end, leased_by="another")
    return mine


def test_a_worker_that_wakes_up_too_late_has_its_usage_counted_when_the_execution_has_ended(
    provider: Provider,
) -> None:
    model, user = provided_model(provider), make_user(credits=10)
    make_program()
    provider.latency_s = 0.5
    others: list[Execution] = []

    def take_over() -> None:
        others.append(taken_over(eventually(lambda: Execution.objects.filter(state="running").first())))
        connection.close()

    thief = threading.Thread(target=take_over)
    thief.start()
    late = execute_program(actor=user, program="answering", input={"question": "Why?"})
    thief.join()
    assert (late.state, late.leased_by, late.token_usage) == ("running", "another", {})

    [mine] = others
    own = TokenUsage(input=10, output=5, requests=1)
    mine.complete(result(by_model={model.name: own}, usage=own, cost=COST, known_costs={model.name: COST}))
    mine.credits_used = credits_for(COST)
    assert writer_module._stored([Finish(mine)]) == [True]
    count_usage()

    eventually(lambda: Execution.objects.get().token_usage["requests"] == 2)
    row, price, paid = Execution.objects.get(), model.prices.get().as_price(), provider.billed[0]
    cost = paid["prompt_tokens"] * price.input + paid["completion_tokens"] * price.output
    assert row.token_usage["late_attempts"] == [1]
    assert row.total_tokens == 15 + paid["prompt_tokens"] + paid["completion_tokens"]
    assert (row.prices, row.output) == ([price.id], {"answer": "because"})
    assert told(row) == ("completed", COST + cost, credits_for(COST), [("settle", credits_for(COST))])
    assert proven_balance(user) == 10 * CREDIT - credits_for(COST)
    count_usage()
    whole = UsageDay.objects.get(user=None, language_model="")
    assert (whole.count, whole.calls, whole.cost, whole.credits) == (1, 2, COST + cost, credits_for(COST))
    call_command("rebuild_usage", "--check")


def test_a_worker_that_stops_tells_before_what_its_lost_attempts_used(
    provider: Provider, worker: ExecutionProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    provided_model(provider, timeout_s=60, deadline_s=60)
    make_program()
    monkeypatch.setattr(executing, "DRAIN_S", 0.1)
    provider.script(text("none of the fields"), hang())
    user = make_user(credits=10)
    execution = execute_program(actor=user, program="answering", input={"question": "?"}, mode=Mode.ASYNC)
    eventually(lambda: len(provider.requests) == 2)
    Execution.objects.update(lease_expires_at=timezone.now() + PAST, max_attempts=1)
    assert leases.sweep() == {"handed_back": 0, "ended": 1}
    assert told(execution) == ("failed", None, 0, [("release", 0)])

    process.stop_thread()

    row = Execution.objects.get(pk=execution.pk)
    assert (row.token_usage["requests"], row.token_usage["late_attempts"]) == (1, [1])
    assert row.cost
    assert told(execution) == ("failed", row.cost, 0, [("release", 0)])
    assert proven_balance(user) == 10 * CREDIT


def test_a_late_attempt_is_counted_once_and_only_what_it_used_itself() -> None:
    execution = handed_back(make_user(credits=10), make_prompt_set())
    [mine] = leases.claim(1, lease_token=uuid.uuid4(), lease_expires_at=timezone.now() + PAST, leased_by="late")
    recorder = Recorder()
    recorder.go_on_from(mine.token_usage, mine.prices)
    before = mine.token_usage
    assert late_of(mine, recorder, before) is None
    recorder.meter("openai/other", TokenUsage(input=7, output=1, requests=1), None)
    late = late_of(mine, recorder, before)
    assert late is not None
    assert late.used.by_model.keys() == {"openai/other"}

    assert count_late(late) is False
    assert Execution.objects.get(pk=execution.pk).token_usage == before
    leases.sweep()
    assert count_late(late) is False
    cancel_execution(actor=execution.user, execution=execution)
    count_usage()
    assert [count_late(late), count_late(late)] == [True, True]

    row = Execution.objects.get(pk=execution.pk)
    assert row.total_tokens == 15 + 8
    assert row.token_usage["late_attempts"] == [2]
    assert told(row) == (
        "cancelled",
        None,
        credits_for(COST),
        [("settle", credits_for(COST))],
    )  # nobody knows that price
    call_command("rebuild_usage", "--check")
    Execution.objects.all().delete()
    assert count_late(late) is True
