"""Days and months in UTC, as budgets count them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from mlops.types import BudgetCycle


def today() -> date:
    """The present day in UTC."""
    return timezone.now().astimezone(UTC).date()


def first_day(cycle: BudgetCycle, day: date) -> date:
    """The first day of the period that `day` is in."""
    return day if cycle is BudgetCycle.DAY else day.replace(day=1)


def next_start(cycle: BudgetCycle, starts_on: date) -> datetime:
    """The moment at which the period that began on `starts_on` is over."""
    days = 1 if cycle is BudgetCycle.DAY else 31
    return datetime.combine(first_day(cycle, starts_on + timedelta(days=days)), time.min, UTC)


def present_days() -> list[date]:
    """The first days of the present periods."""
    day = today()
    return sorted({first_day(cycle, day) for cycle in BudgetCycle})
