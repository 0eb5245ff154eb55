"""How far budgets are used up, read for many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db.models import Count, F, Prefetch, Q, QuerySet, Sum, prefetch_related_objects
from django.db.models.functions import Coalesce
from django.utils import timezone

from mlops.models import Budget, BudgetPeriod
from mlops.periods import first_day, next_start, present_days, today
from mlops.types import BudgetCycle

PRESENT = "present_periods"
"""Where `with_standing` leaves the periods of a budget that have not ended."""

SOONEST = timedelta(hours=1)
"""A forecast from less would be a guess."""

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """The present period of a budget; amounts in pico-dollars.

    `held` is what open slices hold besides what they have told of, `reserved` the part of it that is under way. `left`
    may still be spent, by whoever holds it. `forecast` is what will have been spent at the end if it goes on like this;
    None in the first hour that was counted.
    """

    starts_at: datetime
    resets_at: datetime
    counted_since: datetime
    limit: int
    spent: int = 0
    in_doubt: int = 0
    held: int = 0
    reserved: int = 0
    open_slices: int = 0
    unpriced: int = 0
    warned_at: datetime | None = None
    blocked_at: datetime | None = None

    @property
    def left(self) -> int:
        return max(self.limit - self.spent - self.in_doubt, 0)

    @property
    def percent(self) -> int:
        """Of the limit that was spent, rounded down; 100 of a limit of 0."""
        return 100 * self.spent // self.limit if self.limit else 100

    @property
    def is_blocked(self) -> bool:
        """Whether an enabled budget refuses whatever is not free."""
        return self.spent + self.in_doubt + self.reserved >= self.limit

    @property
    def forecast(self) -> int | None:
        now = min(timezone.now(), self.resets_at)
        passed = now - self.counted_since
        if passed < SOONEST:
            return None
        return self.spent + self.spent * ((self.resets_at - now) // SECOND) // (passed // SECOND)


def with_standing(rows: QuerySet[Any]) -> QuerySet[Any]:
    """`rows` of budgets with what `standing_of` needs, in one query for all."""
    return rows.select_related("user", "language_model").prefetch_related(_present_periods())


def load_standings(budgets: Sequence[Budget]) -> None:
    """Give rows that were read already what `standing_of` needs, in one query for all."""
    prefetch_related_objects(budgets, _present_periods())


def _present_periods() -> Prefetch[str]:
    present = with_slices(BudgetPeriod.objects.filter(starts_on__in=present_days()))
    return Prefetch("periods", queryset=present, to_attr=PRESENT)


def with_slices(periods: QuerySet[BudgetPeriod]) -> QuerySet[Any]:
    """Each period with how many slices are open, what they hold and how much of that is under way."""
    is_open = Q(slices__is_swept=False)
    unspent = F("slices__size") - F("slices__used")
    return periods.annotate(
        open_slices=Count("slices", filter=is_open),
        held=Coalesce(Sum(unspent, filter=is_open), 0),
        reserved=Coalesce(Sum("slices__reserved", filter=is_open), 0),
    )


def standing_of(budget: Budget) -> Standing:
    """The present period of `budget`."""
    starts_on = first_day(BudgetCycle(budget.period), today())
    if hasattr(budget, PRESENT):
        found = next((row for row in getattr(budget, PRESENT) if row.starts_on == starts_on), None)
    else:
        found = with_slices(BudgetPeriod.objects.filter(budget=budget, starts_on=starts_on)).first()
    return standing_in(found or BudgetPeriod(starts_on=starts_on), budget)


def periods_of(budget: Budget) -> QuerySet[BudgetPeriod]:
    """Those in which something was asked of `budget`, newest first."""
    return with_slices(BudgetPeriod.objects.filter(budget=budget)).order_by("-starts_on")


def standing_in(period: BudgetPeriod, budget: Budget) -> Standing:
    """`period` against the present limit of its budget."""
    starts_at = datetime.combine(period.starts_on, time.min, UTC)
    return Standing(
        starts_at=starts_at,
        resets_at=next_start(BudgetCycle(budget.period), period.starts_on),
        counted_since=max(starts_at, budget.created_at),
        limit=budget.limit,
        spent=period.spent,
        in_doubt=period.in_doubt,
        held=int(getattr(period, "held", 0)),
        reserved=int(getattr(period, "reserved", 0)),
        open_slices=getattr(period, "open_slices", 0),
        unpriced=period.unpriced,
        warned_at=period.warned_at,
        blocked_at=period.blocked_at,
    )
