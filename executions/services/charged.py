"""Whether executions were charged by price rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, TextField
from django.db.models.functions import Cast

from executions.models import CostCorrection, Execution
from executions.types import ExecutionState
from mlops.models import ModelPrice


def are_charged(prices: Sequence[ModelPrice]) -> bool:
    """Whether one of `prices` stands on an execution or on a correction, or on one that runs and may come to it.

    It reads all executions unless it finds one: for what admins do once in a while.
    """
    begun = min(price.valid_from for price in prices)
    if Execution.objects.filter(state=ExecutionState.RUNNING, started_at__gte=begun).exists():
        return True
    ids = [str(price.pk) for price in prices]
    if _named(ids, "prices", Execution.objects.all()):
        return True
    corrections = CostCorrection.objects.all()
    return _named(ids, "prices_before", corrections) or _named(ids, "prices_after", corrections)


def _named(ids: Sequence[str], column: str, rows: Any) -> bool:
    named = Q()
    for id in ids:
        named |= Q(as_text__contains=id)
    found: bool = rows.annotate(as_text=Cast(column, TextField())).filter(named).exists()
    return found
