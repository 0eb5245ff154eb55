"""Cancelling an optimization."""

from __future__ import annotations

from mlops.models import User
from mlops.services.jobs import request_cancel
from mlops.verbs import verb
from optimizations.models import Optimization
from optimizations.policies import optimization_policy


@verb(optimization_policy, "cancel")
def cancel_optimization(*, actor: User, optimization: Optimization) -> Optimization:
    """End a pending optimization now; ask the worker of a running one to stop within one model call.

    What it has found stays as candidates; an evaluation that it has begun ends with it. Asking twice is no error.
    Raises `Forbidden`, `NotFound` and `Conflict` (`optimization_not_cancellable`) when it has ended already.
    """
    optimization_policy.check(actor, "cancel", optimization)
    return request_cancel(optimization)
