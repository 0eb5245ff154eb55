"""How jobs end, whoever ends them: their worker, who cancels them, or the sweeper after a worker disappeared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.errors import Conflict
from mlops.models import Job
from mlops.services.watching import announce
from mlops.types import JobState

J = TypeVar("J", bound=Job)

MAX_IDLE_ATTEMPTS = 5
"""Attempts without any progress after which a job counts as one that kills its workers."""

_closing: dict[type[Job], Callable[[Any], None]] = {}


def when_ended(model: type[J], close: Callable[[J], None]) -> None:
    """Have `close` called whenever a job of `model` ends, whoever ends it: its worker, the sweeper, or who cancels it.

    It is called in the transaction that ends the job, with the row in its last state and before that is stored: what it
    sets on the row is stored too. What it raises keeps the job from ending.
    """
    _closing[model] = close


def request_cancel(job: J) -> J:
    """Cancel a pending job at once; ask the worker of a running one to stop. Repeating is harmless.

    The caller has asked the policy. Raises `Conflict` (`<model>_not_cancellable`) for a job that has ended otherwise.
    """
    model: Any = type(job)
    with transaction.atomic():
        row: J = model._base_manager.select_for_update(of=("self",)).get(pk=job.pk)
        if row.state == JobState.PENDING:
            row.cancel_requested_at = row.cancel_requested_at or timezone.now()
            row.cancel()
            store_moved(row)
        elif row.state == JobState.RUNNING:
            if row.cancel_requested_at is None:
                row.cancel_requested_at = timezone.now()
                row.revision += 1
                row.save(update_fields=["cancel_requested_at", "revision"])
        elif row.state != JobState.CANCELLED:
            code = f"{model._meta.model_name}_not_cancellable"
            raise Conflict(code, _("It has ended already."))
    announce(row)
    return row


def sweep(model: type[J]) -> int:
    """Hand back, cancel or fail the jobs whose workers have disappeared; how many are pending now."""
    manager: Any = model._base_manager
    for key in list(
        manager.filter(state=JobState.RUNNING, lease_expires_at__lt=timezone.now()).values_list("pk", flat=True)
    ):
        with transaction.atomic():
            row: J | None = (
                manager.select_for_update(of=("self",))
                .filter(pk=key, state=JobState.RUNNING, lease_expires_at__lt=timezone.now())
                .first()
            )
            if row is None:
                continue
            _end_abandoned(row)
            store_moved(row)
        announce(row)
    pending: int = manager.filter(state=JobState.PENDING).count()
    return pending


def store_moved(row: Job) -> None:
    """Store a row after a transition, with what belongs to its end if it has ended."""
    close = _closing.get(type(row))
    if row.is_terminal and close is not None:
        close(row)
    row.save()


def _end_abandoned(row: Job) -> None:
    if row.cancel_requested_at is not None:
        row.cancel()
    elif row.idle_attempts >= MAX_IDLE_ATTEMPTS:
        message = _("Its worker disappeared %(n)d times without getting on.") % {"n": row.idle_attempts}
        row.fail("lease_lost", message)
    else:
        row.hand_back()
