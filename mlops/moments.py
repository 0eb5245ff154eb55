"""Moments as text, as people and cursors write them."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive


def moment_of(told: str) -> datetime:
    """The moment that an ISO 8601 date and time with its zone tells, in UTC.

    Raises ValueError, also where the calendar ends before UTC is reached, which no database takes.
    """
    moment = parse_datetime(told)
    if moment is None or is_naive(moment):
        raise ValueError(told)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(told) from error
