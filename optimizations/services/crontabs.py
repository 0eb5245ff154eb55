"""When a schedule is due: crontab texts as django-celery-beat keeps them and as Celery reads them."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import datetime

from celery.schedules import crontab as celery_crontab
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django_celery_beat.models import CrontabSchedule

from mlops.errors import Invalid, Problem, all_of

FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")


def crontab_of(text: str, time_zone: str) -> CrontabSchedule:
    """The crontab row, not saved, that fires at `text` in `time_zone`.

    Raises `Invalid`: `time_zone_unknown`, and `crontab_invalid` with a problem for each field that is wrong.
    """
    if time_zone not in zoneinfo.available_timezones():
        raise Invalid("time_zone_unknown", _("There is no such time zone."), field="time_zone")
    parts = text.split()
    if len(parts) != len(FIELDS) or not text.isascii():
        raise _invalid(_("Five fields are expected: minute, hour, day of month, month, day of week."))
    found = dict(zip(FIELDS, parts, strict=True))
    if problems := list(_problems(found)):
        raise all_of(problems, code="crontab_invalid", message=" ".join(problem.message for problem in problems))
    row = CrontabSchedule(**found, timezone=time_zone)
    try:
        row.schedule  # noqa: B018  # Celery looks here whether the fields fit together
    except ValueError as error:
        raise _invalid(str(error)) from None
    return row


def next_due(text: str, time_zone: str, after: datetime) -> datetime:
    """The first minute later than `after` at which `text` is due."""
    schedule = crontab_of(text, time_zone).schedule
    start, wait, _now = schedule.remaining_delta(after.astimezone(schedule.tz))
    due: datetime = start + wait
    return due


def _problems(fields: dict[str, str]) -> Iterator[Problem]:
    """Each field alone: django-celery-beat refuses what it cannot keep, Celery what it would not fire at."""
    for name, text in fields.items():
        try:
            CrontabSchedule._meta.get_field(name).clean(text, None)
            celery_crontab(**{name: text})
        except ValidationError as error:
            yield _problem(name, " ".join(error.messages))
        except ValueError as error:
            yield _problem(name, str(error))


def _problem(name: str, why: str) -> Problem:
    label = str(CrontabSchedule._meta.get_field(name).verbose_name)
    return Problem("crontab_invalid", f"{label}: {why.strip(chr(34))}", "crontab")


def _invalid(message: str) -> Invalid:
    return Invalid("crontab_invalid", message, field="crontab")
