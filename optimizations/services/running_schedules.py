"""Running schedules: once for each due minute, as their owners, one job at a time."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from executions.models import Evaluation
from executions.services.evaluations.starting import evaluate_program
from mlops.errors import Conflict, DomainError
from mlops.models import User
from mlops.services.locking import locked
from mlops.types import TERMINAL_STATES
from mlops.verbs import verb
from optimizations.models import Optimization, Schedule
from optimizations.policies import schedule_policy
from optimizations.services.crontabs import next_due
from optimizations.services.schedule_arguments import COMPILE, EVALUATE, rows_of
from optimizations.services.schedules import SOURCE_KIND, check_owner, note, settle_jobs_of
from optimizations.services.starting import compile_program

logger = logging.getLogger(__name__)

CLOCK_SKEW = timedelta(seconds=5)
"""By how much the clock of beat may be ahead of that of a worker."""

VERBS: dict[str, Any] = {COMPILE: compile_program, EVALUATE: evaluate_program}
STARTED: dict[str, Any] = {"optimization": Optimization, "evaluation": Evaluation}


@verb(schedule_policy, "run")
def run_schedule_now(*, actor: User, schedule: Schedule) -> Schedule:
    """Start what the schedule starts, now and as its owner, whatever its crontab says.

    Raises `Forbidden`, `NotFound`, `Conflict` (`schedule_running` while its last job is not over), and what the verb
    refuses its owner.
    """
    schedule_policy.check(actor, "run", schedule)
    settle_jobs_of(schedule)
    with transaction.atomic():
        return _start(locked(schedule))


def run_due(schedule_id: UUID) -> None:
    """Start what the schedule starts, if it is due: once for each due minute, however often this is called.

    It raises nothing that a schedule can be at fault for: what its owner is refused stands in `last_error`.
    """
    schedule: Schedule | None = Schedule.objects.filter(pk=schedule_id, is_enabled=True).first()
    if schedule is None:
        return
    settle_jobs_of(schedule)  # before it says of itself that it starts something
    if not _claim(schedule):
        return
    try:
        with transaction.atomic():
            _start(locked(schedule))
    except DomainError as error:
        note(schedule, error=f"{error.message} ({error.code})")
    except Exception:
        logger.exception("Schedule %s met what nobody foresaw", schedule)
        note(schedule, error=_("Something went wrong on our side."))


def _claim(schedule: Schedule) -> bool:
    """Whether a minute was due that nobody has taken yet, and that is ours now."""
    now = timezone.now()
    due = next_due(schedule.crontab, schedule.time_zone, schedule.due_after)
    if due > now + CLOCK_SKEW:
        return False
    untaken = Schedule.objects.filter(pk=schedule.pk, is_enabled=True, due_after=schedule.due_after)
    interrupted = _("Its start was interrupted.")
    return bool(untaken.update(due_after=max(due, now), last_run_at=now, last_result="", last_error=interrupted))


def _start(schedule: Schedule) -> Schedule:
    """Start the verb, under the lock of the schedule."""
    owner = check_owner(schedule)
    _refuse_while_running(schedule)
    settle_jobs_of(schedule)  # the last job may have ended a moment ago
    given = rows_of(owner=owner, verb=schedule.verb, arguments=schedule.arguments)
    job = VERBS[schedule.verb](actor=owner, **given, source_kind=SOURCE_KIND, source_id=schedule.pk)
    schedule.last_run_at = timezone.now()
    schedule.last_kind, schedule.last_id = job._meta.model_name, job.pk
    schedule.last_result = schedule.last_error = ""  # until it is over
    # Past `save`, which would write history: nobody has changed the schedule.
    Schedule.objects.filter(pk=schedule.pk).update(
        last_run_at=schedule.last_run_at,
        last_kind=schedule.last_kind,
        last_id=schedule.last_id,
        last_result="",
        last_error="",
    )
    return schedule


def _refuse_while_running(schedule: Schedule) -> None:
    model = STARTED.get(schedule.last_kind)
    if model is None:
        return
    if model.objects.filter(pk=schedule.last_id).exclude(state__in=TERMINAL_STATES).exists():
        message = _("Skipped: %(kind)s %(id)s, which the last run started, is not over yet.")
        raise Conflict("schedule_running", message % {"kind": schedule.last_kind, "id": schedule.last_id})
