"""What belongs to the end of every compile: its evaluations end with it, and its credits are settled."""

from __future__ import annotations

from contextlib import suppress

from django.db.models import BigIntegerField, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast

from executions.models import Evaluation
from executions.services.evaluations import cancel_evaluation
from mlops.errors import Conflict
from mlops.models import CreditEntry
from mlops.services.credits import MAX_AMOUNT, credits_for, credits_owed, settle
from mlops.services.history import operator
from optimizations.models import Optimization
from optimizations.runtime.guard import Spent
from optimizations.runtime.memo import spent_from
from optimizations.services.starting import reservation_key


def close_optimization(row: Optimization) -> None:
    """To be called in the transaction that ends the job, before the row is stored."""
    for evaluation in (row.baseline_evaluation, row.best_evaluation):
        if evaluation is not None:
            stop_evaluation(evaluation)
    note_spent(row)
    reservation = CreditEntry.objects.get(key=reservation_key(row))
    settle(reservation=reservation, used=min(credits_used(row), MAX_AMOUNT))


def stop_evaluation(evaluation: Evaluation) -> None:
    """Cancel what a job has begun to judge, so that no worker goes on paying for it, unless it has ended.

    That follows from the end of the job, and is no matter of its owner's rights, which may have been taken away.
    """
    if not evaluation.is_terminal:
        with suppress(Conflict):  # it has just ended
            cancel_evaluation(actor=operator(), evaluation=evaluation)


def spent_by(row: Optimization) -> Spent:
    """All that the search of a job was billed, by whatever attempt: the sum of its memo."""
    columns = [f"response__{name}" for name in ("calls", "usage", "cost")]
    total = Spent()
    for calls, usage, cost in row.memo_entries.values_list(*columns).iterator():
        total = total.plus(spent_from({"calls": calls, "usage": usage, "cost": cost}))
    return total


def note_spent(row: Optimization) -> None:
    """Note on the job what its search used, never less than what the row says already. The caller saves.

    A resumed search counts from nothing while it is given what was paid for before, and may end, or be ended, before it
    has asked for all of it again.
    """
    spent = spent_by(row)
    row.calls = max(row.calls, spent.calls)
    row.total_tokens = max(row.total_tokens, spent.usage.total)
    row.cost = None if row.cost is None or spent.cost is None else max(row.cost, spent.cost)
    row.token_usage = {
        **spent.usage.as_json(),
        "by_model": {name: usage.as_json() for name, usage in spent.by_model.items()},
    }


def credits_used(row: Optimization) -> int:
    """Micro-credits that the optimizer itself used; where an answer has no known cost, at least what was reserved."""
    if row.cost is not None:
        return credits_for(row.cost)
    reservation = CreditEntry.objects.get(key=reservation_key(row))
    return credits_owed(known_cost=_known_cost(row), is_unpriced=True, reserved=-reservation.amount)


def _known_cost(row: Optimization) -> int:
    """Pico-dollars of the answers whose cost is known."""
    costs = row.memo_entries.annotate(cost=Cast(KeyTextTransform("cost", "response"), BigIntegerField()))
    return int(costs.aggregate(known=Sum("cost", default=0))["known"])
