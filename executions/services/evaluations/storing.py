"""Storing a batch of which not everything can be stored: one bad item must not cost the others theirs."""

from __future__ import annotations

import logging
from dataclasses import replace

from django.db import InterfaceError, OperationalError

from executions.runtime.evaluate import Spending, failed
from executions.services.evaluations import shards
from executions.services.evaluations.shards import Batch, Done, Standing
from executions.types import RunError

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)
"""What the database raises when it is not there: to be tried again."""


def stored(batch: Batch) -> Standing:
    """`shards.store`; items that cannot be stored are found by bisection, lose their content and keep what they used.

    Raises `AWAY`, after which the whole batch may be repeated, and whatever is in the way of the bare figures.
    """
    try:
        return shards.store(batch)
    except AWAY:
        raise
    except Exception:
        if not batch.done:
            raise
        if len(batch.done) == 1:
            logger.exception("An item of evaluation %s cannot be stored as it is", batch.evaluation)
            return shards.store(replace(batch, done=[_bare(batch.done[0])]))
    first, rest = _halves(batch)
    stored(first)
    return stored(rest)


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """The time that was worked goes with the first half, since it counts until now; how it ends with the second."""
    middle = len(batch.done) // 2
    first = replace(batch, done=batch.done[:middle], cut=Spending(), whole=frozenset(), ending=None)
    return first, replace(batch, done=batch.done[middle:], worked_s=0.0)


def _bare(done: Done) -> Done:
    """The same with an error in place of its content; what was used counts."""
    result = done.result
    error = RunError("internal_error", "The answer could not be stored.")
    kept = replace(failed(error), spent=result.spent, cost=result.cost, token_usage=result.token_usage)
    return replace(done, result=kept)
