"""Counting what has ended, exactly once whatever crashes: a row is marked in the transaction that adds it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import connection, models, transaction

from executions.services.usage.contributions import Source, contribute, sources

BATCHES = {"postgresql": 2_000, "sqlite": 500}
"""Rows per transaction. On SQLite nobody else writes meanwhile."""

LIMIT_S = 4.0


def count_usage(*, limit_s: float = LIMIT_S) -> int:
    """Add what has ended to the usage of its day, the oldest first, for about `limit_s`; how many rows that were.

    All sources take turns, and each has at least one: a backlog of one keeps no other waiting. Several workers may
    count at once: each takes rows that no other one holds.
    """
    give_up, counted, waiting = time.monotonic() + limit_s, 0, list(sources())
    while waiting:
        done = {source: _count_some(source) for source in waiting}
        counted += sum(done.values())
        if time.monotonic() >= give_up:
            break
        waiting = [source for source in waiting if done[source] == BATCHES[connection.vendor]]
    return counted


@contextmanager
def corrected_usage(model: type[models.Model], keys: Sequence[UUID]) -> Iterator[None]:
    """Keep usage exact while the body changes what rows of `model` that have ended used or cost, such as by new prices.

    One transaction, which is the caller's if there is one: the rows are locked in the order of their keys, their old
    figures are taken away and, after the body, the new ones added. Use it once per transaction, for a few thousand rows
    at most: a second block would lock rows while it holds sums that counting workers wait for.
    """
    source = next(source for source in sources() if source.model is model)
    with transaction.atomic():
        counted = _locked(source, keys)
        contribute(source, counted, sign=-1)
        yield
        contribute(source, counted)


def _count_some(source: Source) -> int:
    with transaction.atomic():
        ended = _rows(source).filter(finished_at__isnull=False, is_counted=False).order_by("finished_at")
        taken = ended.select_for_update(skip_locked=True, of=("self",))
        keys = list(taken.values_list("pk", flat=True)[: BATCHES[connection.vendor]])
        contribute(source, keys)
        _rows(source).filter(pk__in=keys).update(is_counted=True)
    return len(keys)


def _locked(source: Source, keys: Sequence[UUID]) -> list[UUID]:
    """The counted ones of `keys`. The others are locked as well: they will be counted as they are then."""
    rows = _rows(source).filter(pk__in=keys).order_by("pk").select_for_update(of=("self",), no_key=True)
    return [key for key, is_counted in rows.values_list("pk", "is_counted") if is_counted]


def _rows(source: Source) -> models.QuerySet[Any]:
    rows: models.QuerySet[Any] = source.model._default_manager.all()
    return rows
