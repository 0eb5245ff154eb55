"""The state machine: what services do to rows is what the model declares, and the database knows no other states."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from executions.models import Execution
from executions.services import leases
from executions.services.cancel import cancel_execution
from executions.services.writer import Finish, GroupWriter, Start
from executions.types import ExecutionState, RunError
from mlops.errors import Conflict
from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance
from programs.models import PromptSet
from tests.executions.conftest import state_of
from tests.executions.rows import make_prompt_set, new_execution, result, started
from tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)

PAST, FUTURE = timedelta(seconds=-1), timedelta(seconds=60)


def store(*jobs: Start | Finish) -> list[bool]:
    async def work() -> list[bool]:
        writer = GroupWriter()
        writer.start()
        stored = await asyncio.gather(*(writer.store(job) for job in jobs))
        await writer.stop()
        return stored

    return asyncio.run(work())


def held(user: User, prompt_set: PromptSet, *, lease: timedelta = PAST, **fields: Any) -> Execution:
    """A running execution, stored with its reservation; its lease ends `lease` from now."""
    execution = started(new_execution(user, prompt_set, **fields), lease.total_seconds())
    assert store(Start(execution, is_limited=False)) == [True]
    return execution


def finishing(conclude: Callable[[Execution], None]) -> Callable[[Execution], None]:
    """Whoever believes to run the execution ends it, whatever has become of the row."""

    def end(execution: Execution) -> None:
        conclude(execution)
        store(Finish(execution))

    return end


def claiming(execution: Execution) -> None:
    leases.claim(10, lease_token=uuid.uuid4(), lease_expires_at=timezone.now() + FUTURE, leased_by="other")


def cancelling(execution: Execution) -> None:
    with suppress(Conflict):
        cancel_execution(actor=execution.user, execution=execution)


OPERATIONS: dict[str, tuple[Callable[[Execution], object], dict[str, Any]]] = {
    "claim": (claiming, {}),
    "renew": (lambda row: leases.renew({row.pk: row.lease_token}, timezone.now() + FUTURE), {}),
    "hand back": (leases.hand_back, {}),
    "sweep": (lambda row: leases.sweep(), {}),
    "sweep the last attempt": (lambda row: leases.sweep(), {"max_attempts": 1}),
    "sweep the cancelled": (lambda row: leases.sweep(), {"cancel_requested_at": timezone.now()}),
    "cancel": (cancelling, {}),
    "complete": (finishing(lambda row: row.complete(result())), {}),
    "fail": (finishing(lambda row: row.fail(RunError("timeout", "Too slow."))), {}),
    "end the cancelled": (finishing(lambda row: row.cancel()), {}),
}


def test_services_make_every_declared_transition_and_no_other() -> None:
    user, prompt_set = make_user(), make_prompt_set()
    made: dict[tuple[str, str], str] = {}
    for name, (operation, fields) in OPERATIONS.items():
        for state in ExecutionState:
            execution = held(user, prompt_set, **fields)
            # The lease stays in the row, so that only its state can refuse.
            Execution.objects.filter(pk=execution.pk).update(state=state.value)
            operation(execution)
            if (after := state_of(execution)) != state:
                made.setdefault((state.value, after), name)
            Execution.objects.all().delete()

    field: Any = Execution._meta.get_field("state")
    declared = {(one.source, one.target) for one in field.get_all_transitions(Execution)}
    assert set(made) == declared, made


def test_the_database_knows_no_other_state() -> None:
    execution = held(make_user(), make_prompt_set())
    with pytest.raises(IntegrityError), transaction.atomic():
        Execution.objects.filter(pk=execution.pk).update(state="daydreaming")


def test_a_claim_leaves_the_claimed_row_as_it_says() -> None:
    user, prompt_set = make_user(), make_prompt_set()
    execution = new_execution(user, prompt_set)
    store(Start(execution, is_limited=False))
    lease: dict[str, Any] = {
        "lease_token": uuid.uuid4(),
        "lease_expires_at": timezone.now() + FUTURE,
        "leased_by": "me",
    }

    [claimed] = leases.claim(10, **lease)

    row = Execution.objects.get(pk=execution.pk)
    same = ("state", "attempt", "revision", "lease_token", "lease_expires_at", "leased_by")
    assert [getattr(row, name) for name in same] == [getattr(claimed, name) for name in same]
    assert (row.state, row.attempt, row.revision) == ("running", 1, 2)
    assert leases.claim(10, **lease) == []


# The sweeper


def test_what_nobody_looks_after_is_handed_back_twice_and_given_up_the_third_time() -> None:
    user = make_user(credits=1)
    execution = held(user, make_prompt_set(), credits_reserved=1000)
    for attempt in (1, 2):
        assert leases.sweep()["handed_back"] == 1
        row = Execution.objects.get(pk=execution.pk)
        assert (row.state, row.attempt, row.lease_token) == ("pending", attempt, None)
        leases.claim(1, lease_token=uuid.uuid4(), lease_expires_at=timezone.now() + PAST, leased_by="doomed")

    assert leases.sweep()["ended"] == 1

    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.error_code, row.attempt) == ("failed", "lease_lost", 3)
    assert row.finished_at is not None
    user.refresh_from_db()
    assert user.ml_credits == 1_000_000 == proven_balance(user)


def test_what_must_not_be_repeated_has_one_attempt() -> None:
    execution = held(make_user(), make_prompt_set(), max_attempts=1)

    leases.sweep()

    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.error_code, row.attempt) == ("failed", "lease_lost", 1)


def test_what_was_to_be_cancelled_is_cancelled_and_its_credits_released() -> None:
    user = make_user(credits=1)
    execution = held(user, make_prompt_set(), credits_reserved=1000)
    cancel_execution(actor=user, execution=execution)
    assert state_of(execution) == "running"

    leases.sweep()

    assert state_of(execution) == "cancelled"
    kinds = CreditEntry.objects.filter(subject_id=execution.pk).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["reserve", "release"]
    user.refresh_from_db()
    assert user.ml_credits == 1_000_000 == proven_balance(user)


def test_a_lease_that_holds_is_left_alone_and_can_be_moved() -> None:
    execution = held(make_user(), make_prompt_set(), lease=FUTURE)
    assert leases.sweep() == {"handed_back": 0, "ended": 0}

    later = timezone.now() + 2 * FUTURE
    assert leases.renew({execution.pk: execution.lease_token}, later) == {execution.pk}
    assert Execution.objects.get(pk=execution.pk).lease_expires_at == later
    assert leases.renew({execution.pk: uuid.uuid4()}, timezone.now()) == set()
    assert Execution.objects.get(pk=execution.pk).lease_expires_at == later


def test_asking_twice_to_cancel_is_no_error() -> None:
    execution = held(make_user(), make_prompt_set(), lease=FUTURE)
    first = cancel_execution(actor=execution.user, execution=execution)
    second = cancel_execution(actor=execution.user, execution=execution)
    assert first.cancel_requested_at == second.cancel_requested_at is not None
