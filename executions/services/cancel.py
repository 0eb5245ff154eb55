"""Cancelling an execution."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from executions.errors import execution_not_cancellable
from executions.models import Execution
from executions.policies import execution_policy
from executions.services import process
from executions.services.leases import book_end
from executions.services.ledger import charge_without_answer
from executions.services.running import Ending
from executions.types import ExecutionState
from mlops.models import User
from mlops.services.nudges import nudge
from mlops.services.watching import change_of
from mlops.verbs import verb


@verb(execution_policy, "cancel")
def cancel_execution(*, actor: User, execution: Execution) -> Execution:
    """End a pending execution now; ask whoever runs a running one to stop within one model call.

    Asking twice is no error. Raises `Conflict` (`execution_not_cancellable`) when it has ended already.
    """
    execution_policy.check(actor, "cancel", execution)
    with transaction.atomic():
        row: Execution = Execution.objects.select_for_update(of=("self",)).get(pk=execution.pk)
        if row.is_terminal:
            raise execution_not_cancellable(row.state)
        if row.state == ExecutionState.PENDING:
            row.cancel()
            charge_without_answer(row)
            row.save()
            book_end(row)
        elif row.cancel_requested_at is None:
            row.cancel_requested_at = timezone.now()
            Execution.objects.filter(pk=row.pk).update(
                cancel_requested_at=row.cancel_requested_at, revision=F("revision") + 1
            )
        transaction.on_commit(lambda: _tell(row))
    return row


def _tell(row: Execution) -> None:
    nudge(Execution)
    here = process.present()
    if here is not None:
        here.loop.call_soon_threadsafe(_tell_here, row)


def _tell_here(row: Execution) -> None:
    here = process.present()
    if here is None:
        return
    if running := here.running.get(row.pk):
        running.end(Ending.CANCEL)
    elif row.is_terminal:
        here.watchers.offer(change_of(row))
