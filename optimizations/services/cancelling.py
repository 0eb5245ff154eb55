"""Cancelling an optimization."""

from __future__ import annotations

from django.db import transaction

from mlops.models import User
from mlops.services.jobs import request_cancel
from mlops.types import JobState
from mlops.verbs import verb
from optimizations.models import Optimization
from optimizations.policies import optimization_policy
from optimizations.services.results import settle_credits
from optimizations.types import FinishReason


@verb(optimization_policy, "cancel")
def cancel_optimization(*, actor: User, optimization: Optimization) -> Optimization:
    """End a pending optimization now; ask the worker of a running one to stop within one model call.

    What it has found stays as candidates. Asking twice is no error. Raises `Forbidden`, `NotFound` and `Conflict`
    (`optimization_not_cancellable`) when it has ended already.
    """
    optimization_policy.check(actor, "cancel", optimization)
    with transaction.atomic():
        row = request_cancel(optimization)
        if row.state == JobState.CANCELLED and not row.finish_reason:
            row.finish_reason = FinishReason.CANCELLED.value
            row.save(update_fields=["finish_reason"])
            settle_credits(row)
    return row
