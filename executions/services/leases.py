"""Claiming, renewing, handing back and sweeping: who runs an execution, decided by the database.

Each function is one short transaction. The changes of state are those that the model declares; here they are made for
many rows at once, guarded by the state they start from.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from executions.models import Execution
from executions.services.ledger import charge_without_answer, settlement
from executions.types import ExecutionState, RunError
from mlops.errors import DomainError
from mlops.services.credits import book
from mlops.services.nudges import nudge

CLAIM_BATCH = 64
SWEEP_BATCH = 500

PENDING, RUNNING = ExecutionState.PENDING.value, ExecutionState.RUNNING.value


def claim(room: int, *, lease_token: UUID, lease_expires_at: datetime, leased_by: str) -> list[Execution]:
    """Take up to `room` pending executions, oldest first, with their owners as they are now; two that claim at once
    never get the same row."""
    with transaction.atomic():
        pending = Execution.objects.pending().select_for_update(skip_locked=True, of=("self",))
        rows = list(pending.select_related("user").order_by("pk")[:room])
        for row in rows:
            row.start(lease_token=lease_token, lease_expires_at=lease_expires_at, leased_by=leased_by)
        Execution.objects.filter(pk__in=[row.pk for row in rows], state=PENDING).update(
            state=RUNNING,
            attempt=F("attempt") + 1,
            revision=F("revision") + 1,
            lease_token=lease_token,
            lease_expires_at=lease_expires_at,
            leased_by=leased_by,
            started_at=timezone.now(),
        )
    if rows:
        nudge(Execution)
    return rows


def renew(tokens: Mapping[UUID, UUID | None], until: datetime) -> set[UUID]:
    """Move the leases that are still held with their tokens; which those are.

    A row that is locked just now is being ended or cancelled: it needs no lease, or gets it the next time. Waiting for
    it while holding others could be waiting in a circle.
    """
    rows = Execution.objects.filter(pk__in=tokens, state=RUNNING).values_list("pk", "lease_token")
    held = {key for key, token in rows if token == tokens[key]}
    mine = set(tokens.values())
    with transaction.atomic():
        unlocked = Execution.objects.select_for_update(skip_locked=True, no_key=True, of=("self",)).filter(
            pk__in=held, state=RUNNING, lease_token__in=mine
        )
        keys = list(unlocked.values_list("pk", flat=True))
        Execution.objects.filter(pk__in=keys).update(lease_expires_at=until)
    return held


def cancellations(leased_by: str) -> set[UUID]:
    """What runs in the process of that name and is to be cancelled."""
    asked = Execution.objects.filter(state=RUNNING, leased_by=leased_by, cancel_requested_at__isnull=False)
    return set(asked.values_list("pk", flat=True))


def hand_back(execution: Execution, *, has_begun: bool = True) -> bool:
    """Give an execution that this process holds back to the queue, or end it when it may not run again.

    One that has not begun has had no attempt. False when this process held it no longer: what it used is in no row.
    """
    token = execution.lease_token
    with transaction.atomic():
        row = (
            Execution.objects.select_for_update(of=("self",))
            .filter(pk=execution.pk, state=RUNNING, lease_token=token)
            .first()
        )
        if row is None:
            return _was_handed_back(execution)
        row.token_usage, row.total_tokens = execution.token_usage, execution.total_tokens
        row.cost, row.prices = execution.cost, execution.prices
        if not has_begun:
            row.attempt -= 1
        _release(row)
    nudge(Execution)
    return True


def _was_handed_back(execution: Execution) -> bool:
    """Whether an earlier call did it whose answer was lost: nobody but the holder of the lease stores that usage."""
    row = Execution.objects.filter(pk=execution.pk).first()
    if row is None or row.token_usage != execution.token_usage:
        return False
    if row.is_terminal:
        return bool(row.lease_token == execution.lease_token)
    return bool(row.attempt <= execution.attempt + 1)


def sweep() -> dict[str, int]:
    """Hand back what nobody looks after, or end what may not run again; how many of each.

    Each in a transaction of its own, which locks one account at most: nobody can wait for it in a circle.
    """
    counts = {"handed_back": 0, "ended": 0}
    for key in list(Execution.objects.abandoned().order_by("pk").values_list("pk", flat=True)[:SWEEP_BATCH]):
        with transaction.atomic():
            rows = Execution.objects.abandoned().select_for_update(skip_locked=True, of=("self",))
            row = rows.filter(pk=key).first()
            if row is not None:
                _release(row)
                counts["ended" if row.is_terminal else "handed_back"] += 1
    if any(counts.values()):
        nudge(Execution)
    return counts


def _release(row: Execution) -> None:
    """A locked, running row whose attempt is over without an end."""
    if row.cancel_requested_at is not None:
        row.cancel()
    elif row.attempt >= row.max_attempts:
        row.fail(lease_lost(row))
    else:
        row.hand_back()
    if row.is_terminal:
        charge_without_answer(row)
    row.save()
    if row.is_terminal:
        book_end(row)


def lease_lost(row: Execution) -> RunError:
    if row.max_attempts == 1:
        return RunError("lease_lost", _("Whoever ran it disappeared, and its tools must not be called twice."))
    return RunError("lease_lost", _("Whoever ran it disappeared, %(n)d times in all.") % {"n": row.attempt})


def book_end(row: Execution) -> None:
    """Settle the credits of an execution that a service ended, in the caller's transaction."""
    if entry := settlement(row):
        book(entry)


def refusal(error: Exception) -> RunError:
    """Why a claimed execution cannot be run."""
    return RunError(error.code, error.message) if isinstance(error, DomainError) else internal_error()


def right_taken_away() -> RunError:
    return RunError("right_taken_away", _("Whoever asked for it may not execute this program any more."))


def internal_error() -> RunError:
    return RunError("internal_error", _("Something went wrong on our side."))
