"""Leaked reservations: lines that hold credits back for work that is over.

Whoever reserves also ends, in the transaction that ends the work, so that there should be none. A process that is
killed between a model's answer and the end of a search, or a mistake of ours, can leave one all the same. The sweeper
finds it by walking along the reservations in the order of time, once: it remembers how far it got, and begins the next
lap at the oldest reservation whose work still lived. So each call looks at a bounded number of lines, by an index,
however long the ledger is.

What the work of a reservation has become only the app knows that reserved: it registers a judge.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from django.db.models import Exists, Model, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.utils import timezone

from mlops.errors import Conflict
from mlops.models import CreditEntry, ReservationSweep
from mlops.services.credits import MAX_AMOUNT, ending_key, settle
from mlops.types import CreditKind

logger = logging.getLogger(__name__)

GRACE = timedelta(minutes=15)
"""Younger reservations are not looked at. Clocks of hosts may differ, and commits be late, by as much."""

LONGEST = timedelta(days=1)
"""Work that has no row, such as the trial of a metric, is over for certain by then: its process was lost."""

CHUNK = 5_000
CHUNKS = 20
"""How many reservations one call looks at, at most: `CHUNK` times this."""

Judge: TypeAlias = Callable[[Sequence[CreditEntry]], Mapping[UUID, int]]
"""Of open reservations, by key of the line, those whose work is over, with the micro-credits that it used."""

M = TypeVar("M", bound=Model)

_judges: dict[str, Judge] = {}


@dataclass(frozen=True, slots=True)
class Swept:
    """What one call looked at and ended. `is_done`: it came to the end of the ledger."""

    looked_at: int = 0
    ended: int = 0
    is_done: bool = False


def judge_reservations(kind: str, judge: Judge) -> None:
    """Have `judge` say what has become of the work of reservations whose subject is of `kind`."""
    _judges[kind] = judge


def by_row(rows: QuerySet[M], used: Callable[[M], int]) -> Judge:
    """A judge of work that has a row with `is_terminal`: it is over when the row says so or is not there."""

    def judge(lines: Sequence[CreditEntry]) -> dict[UUID, int]:
        found: Mapping[Any, Any] = rows.in_bulk([line.subject_id for line in lines])
        work = [(line.pk, found.get(line.subject_id)) for line in lines]
        return {key: 0 if row is None else used(row) for key, row in work if row is None or row.is_terminal}

    return judge


def by_age(lines: Sequence[CreditEntry]) -> dict[UUID, int]:
    """A judge of work that lives in one process and has no row: what it used is unknown, and not charged."""
    oldest = timezone.now() - LONGEST
    return {line.pk: 0 for line in lines if line.created_at < oldest}


def sweep_reservations() -> Swept:
    """End the reservations of work that is over. Two calls at a time look twice and end once."""
    until = timezone.now() - GRACE
    mark, _is_new = ReservationSweep.objects.get_or_create(pk=1)
    if mark.position > until:  # the clock was set back: what is written now would stay behind the mark
        mark.begin_at(until)
    looked_at = ended = 0
    for _chunk in range(CHUNKS):
        chunk = list(_after(mark).filter(created_at__lt=until).values_list("created_at", "pk")[:CHUNK])
        if chunk:
            ended += _end_leaks(mark, chunk[-1])
            mark.position, mark.line = chunk[-1]
        looked_at += len(chunk)
        if len(chunk) < CHUNK:
            mark.begin_next_lap()
            mark.save()
            return Swept(looked_at, ended, is_done=True)
    mark.save()
    return Swept(looked_at, ended)


def _after(mark: ReservationSweep) -> QuerySet[CreditEntry]:
    later = Q(created_at__gt=mark.position) | Q(created_at=mark.position, pk__gt=mark.line)
    lines = CreditEntry.objects.filter(kind=CreditKind.RESERVE.value, created_at__gte=mark.position)
    return lines.filter(later).order_by("created_at", "pk")


def _end_leaks(mark: ReservationSweep, last: tuple[Any, UUID]) -> int:
    """End what has leaked from the mark up to `last`; the mark hears of the oldest that lives."""
    ending = CreditEntry.objects.filter(key=Concat(Value(ending_key("")), OuterRef("key")))
    before = Q(created_at__lt=last[0]) | Q(created_at=last[0], pk__lte=last[1])
    lines = list(_after(mark).filter(before, created_at__lte=last[0]).exclude(Exists(ending)))
    over = dict(_judged(lines))
    living = [line.created_at for line in lines if line.pk not in over]
    if living and mark.oldest_living is None:
        mark.oldest_living = living[0]
    return sum(_ended(line, over[line.pk]) for line in lines if line.pk in over)


def _judged(lines: Sequence[CreditEntry]) -> Iterator[tuple[UUID, int]]:
    by_kind: dict[str, list[CreditEntry]] = defaultdict(list)
    for line in lines:
        by_kind[line.subject_kind].append(line)
    for kind, its_lines in by_kind.items():
        if judge := _judges.get(kind):
            yield from judge(its_lines).items()
        else:
            logger.error("Nobody can tell what became of reservations for %s", kind)


def _ended(line: CreditEntry, used: int) -> bool:
    """End one reservation, unless it has been ended since it was read."""
    try:
        settle(reservation=line, used=min(used, MAX_AMOUNT))
    except Conflict:
        return False
    logger.warning("The reservation for %s %s had leaked and was ended", line.subject_kind, line.subject_id)
    return True
