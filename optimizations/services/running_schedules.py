"""Running schedules: once for each due minute, as their owners, one job at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import models, transaction
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
from optimizations.services.schedules import SOURCE_KIND, check_owner, settle_jobs_of, wish_of
from optimizations.services.starting import ready_compile

logger = logging.getLogger(__name__)

CLOCK_SKEW = timedelta(seconds=5)
"""By how much the clock of beat may be ahead of that of a worker."""

INTERRUPTED_AFTER = timedelta(minutes=1)
"""Whoever takes a due minute and has started nothing by then is gone, or will find that it is too late."""

START: dict[str, Callable[..., Callable[[], Any]]] = {
    COMPILE: ready_compile,
    EVALUATE: lambda **given: partial(evaluate_program, **given),  # a few milliseconds: it reads a sample only
}
STARTED: dict[str, Any] = {"optimization": Optimization, "evaluation": Evaluation}


@dataclass(frozen=True, slots=True)
class Ready:
    """What a schedule starts, read and checked before its row is locked, and the wish that this was done for."""

    wish: tuple[Any, ...]
    start: Callable[[], Any]


@verb(schedule_policy, "run")
def run_schedule_now(*, actor: User, schedule: Schedule) -> Schedule:
    """Start what the schedule starts, now and as its owner, whatever its crontab says.

    Raises `Forbidden`, `NotFound`, `Conflict` (`schedule_running` while its last job is not over), and what the verb
    refuses its owner.
    """
    schedule_policy.check(actor, "run", schedule)
    settle_jobs_of(schedule)
    ready = _ready(schedule)
    with transaction.atomic():
        return _start(locked(schedule), ready)


def run_due(schedule_id: UUID) -> None:
    """Start what the schedule starts, if it is due: once for each due minute, however often this is called.

    It raises nothing that a schedule can be at fault for: what its owner is refused stands in `last_error`.
    """
    schedule: Schedule | None = Schedule.objects.filter(pk=schedule_id, is_enabled=True).first()
    if schedule is None:
        return
    settle_jobs_of(schedule)  # before it says of itself that it starts something
    if _claim(schedule):
        _run(schedule)


def run_interrupted() -> None:
    """Start what somebody took and never started, such as a process that was killed: once more, and no third time."""
    left = Schedule.objects.filter(is_enabled=True, claimed_at__lt=timezone.now() - INTERRUPTED_AFTER)
    for schedule in left:
        if _same_claim(schedule).update(claimed_at=None):
            schedule.claimed_at = None
            settle_jobs_of(schedule)
            _run(schedule)


def _claim(schedule: Schedule) -> bool:
    """Whether a minute was due that nobody has taken yet, and that is ours now."""
    now = timezone.now()
    due = next_due(schedule.crontab, schedule.time_zone, schedule.due_after)
    if due > now + CLOCK_SKEW:
        return False
    untaken = Schedule.objects.filter(pk=schedule.pk, is_enabled=True, due_after=schedule.due_after)
    interrupted = _("Its start was interrupted.")
    schedule.claimed_at = now
    return bool(
        untaken.update(due_after=max(due, now), claimed_at=now, last_run_at=now, last_result="", last_error=interrupted)
    )


def _same_claim(schedule: Schedule) -> models.QuerySet[Schedule]:
    """The row, unless somebody has taken it since."""
    same: models.QuerySet[Schedule] = Schedule.objects.filter(pk=schedule.pk, claimed_at=schedule.claimed_at)
    return same


def _run(schedule: Schedule) -> None:
    """Start it for the minute that was taken, unless it was switched off, or somebody else has taken over."""
    try:
        ready = _ready(schedule)
        with transaction.atomic():
            current = locked(schedule)
            if current.is_enabled and current.claimed_at == schedule.claimed_at:
                _start(current, ready)
    except DomainError as error:
        _give_up(schedule, f"{error.message} ({error.code})")
    except Exception:
        logger.exception("Schedule %s met what nobody foresaw", schedule)
        _give_up(schedule, _("Something went wrong on our side."))


def _give_up(schedule: Schedule, why: str) -> None:
    _same_claim(schedule).update(claimed_at=None, last_result="", last_error=why)


def _ready(schedule: Schedule) -> Ready:
    """All that can be known before the row is locked. Raises what `run_schedule_now` raises."""
    owner = check_owner(schedule)
    _refuse_while_running(schedule)
    given = rows_of(owner=owner, verb=schedule.verb, arguments=schedule.arguments)
    start = START[schedule.verb](actor=owner, **given, source_kind=SOURCE_KIND, source_id=schedule.pk)
    return Ready(wish_of(schedule), start)


def _start(schedule: Schedule, ready: Ready) -> Schedule:
    """Start the verb, under the lock of the schedule."""
    _refuse_while_running(schedule)
    if settle_jobs_of(schedule) or wish_of(schedule) != ready.wish:  # a moment ago it was another one
        ready = _ready(schedule)
    job = ready.start()
    started: dict[str, Any] = {
        "last_run_at": timezone.now(),
        "last_kind": job._meta.model_name,
        "last_id": job.pk,
        "last_result": "",  # until it is over
        "last_error": "",
        "claimed_at": None,
    }
    vars(schedule).update(started)
    # Past `save`, which would write history: nobody has changed the schedule.
    Schedule.objects.filter(pk=schedule.pk).update(**started)
    return schedule


def _refuse_while_running(schedule: Schedule) -> None:
    model = STARTED.get(schedule.last_kind)
    if model is None:
        return
    if model.objects.filter(pk=schedule.last_id).exclude(state__in=TERMINAL_STATES).exists():
        message = _("Skipped: %(kind)s %(id)s, which the last run started, is not over yet.")
        raise Conflict("schedule_running", message % {"kind": schedule.last_kind, "id": schedule.last_id})
