"""Verbs of schedules, and what becomes of an optimization that a schedule started.

A schedule runs with the rights, and at the cost, of its owner. Who changes what it does, or when, becomes its owner:
nobody can have something done in another one's name.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django_celery_beat.models import PeriodicTask

from mlops.errors import Conflict, DomainError, Forbidden, Invalid
from mlops.models import User
from mlops.services.history import save_with_history, saved_or_none
from mlops.services.locking import locked
from mlops.services.reverting import revertible
from mlops.types import TERMINAL_STATES, JobState
from mlops.verbs import verb
from optimizations.models import Optimization, Schedule
from optimizations.policies import schedule_policy
from optimizations.services.crontabs import crontab_of
from optimizations.services.schedule_arguments import COMPILE, SHAPES, check_arguments
from programs.models import Program
from programs.services import deploy_program, submit_program
from programs.services.checks import locked_versions
from programs.types import NAME_PATTERN, ProgramStatus

logger = logging.getLogger(__name__)

SOURCE_KIND = "schedule"
"""`source_kind` of what a schedule started."""

TASK = "optimizations.run_schedule"
QUEUE = "ml_inference"
"""Starting is light; a worker of `ml_training` may be busy with one compile for hours."""

WHEN = frozenset({"crontab", "time_zone"})
WHAT = frozenset({"verb", "arguments", "deploy_if_better"})


class ScheduleChanges(TypedDict, total=False):
    """What can be changed of a schedule."""

    name: str
    verb: str
    arguments: Mapping[str, Any]
    crontab: str
    time_zone: str
    is_enabled: bool
    deploy_if_better: bool


@verb(schedule_policy, "create")
def create_schedule(
    *,
    actor: User,
    name: str,
    verb: str,
    arguments: Mapping[str, Any],
    crontab: str,
    time_zone: str = "UTC",
    is_enabled: bool = True,
    deploy_if_better: bool = False,
) -> Schedule:
    """Have `verb` (compile or evaluate) done with `arguments` as `actor`, each time that `crontab` is due.

    `arguments` are looked at as the verb would now. Raises `Forbidden`, `NotFound`, `Invalid` (`name_invalid`,
    `verb_unknown`, `arguments_invalid`, `crontab_invalid`, `time_zone_unknown`, `deploy_if_better_invalid`), `Conflict`
    (`schedule_exists`), and what the verb refuses.
    """
    schedule_policy.check(actor, "create")
    schedule = Schedule(
        user=actor,
        name=name,
        verb=verb,
        arguments=arguments,
        crontab=crontab,
        time_zone=time_zone,
        is_enabled=is_enabled,
        deploy_if_better=deploy_if_better,
    )
    _check_form(schedule)
    _check_arguments(schedule)
    with transaction.atomic():
        _refuse_taken_name(schedule)
        _set_periodic_task(schedule)
        return _saved(schedule, actor=actor, reason="create")


@verb(schedule_policy, "change")
def change_schedule(*, actor: User, schedule: Schedule, **changes: Unpack[ScheduleChanges]) -> Schedule:
    """Change a schedule. Whoever changes more than its name, or switches it on, becomes its owner, for whom the
    arguments are looked at again.

    What was due before a change of the time is not made up for. Raises as `create_schedule` does.
    """
    schedule_policy.check(actor, "change", schedule)
    ahead = Schedule.objects.filter(pk=schedule.pk).first()
    if ahead is None:
        raise schedule_policy.not_found()
    if _change(ahead, actor, changes):
        _check_arguments(ahead)  # reads much, so not under the lock
    with transaction.atomic():
        current = locked(schedule)
        if _change(current, actor, changes):
            if wish_of(current) != wish_of(ahead):  # somebody else has changed it meanwhile
                _check_arguments(ahead := current)
            current.program_name = ahead.program_name
        _refuse_taken_name(current)
        _set_periodic_task(current)
        return _saved(current, actor=actor, reason="change")


def _change(schedule: Schedule, actor: User, changes: ScheduleChanges) -> bool:
    """Change the row in hand; whether `actor` becomes its owner thereby."""
    before = {name: getattr(schedule, name) for name in changes}
    for name, value in changes.items():
        setattr(schedule, name, value)
    changed = {name for name, value in before.items() if value != getattr(schedule, name)}
    _check_form(schedule)
    is_switched_on = "is_enabled" in changed and schedule.is_enabled
    if changed & WHEN or is_switched_on:
        schedule.due_after, schedule.claimed_at = timezone.now(), None
    takes_over = bool(changed & (WHAT | WHEN)) or is_switched_on
    if takes_over:
        schedule.user = actor
    return takes_over


def wish_of(schedule: Schedule) -> tuple[Any, ...]:
    """What it does, and for whom."""
    return schedule.user_id, schedule.verb, schedule.arguments


@verb(schedule_policy, "delete")
def delete_schedule(*, actor: User, schedule: Schedule) -> None:
    """Delete a schedule; what it has started goes on. Raises `Forbidden` and `NotFound`."""
    schedule_policy.check(actor, "delete", schedule)
    with transaction.atomic():
        current = locked(schedule)
        vars(current).update(_history_user=saved_or_none(actor), _change_reason="delete")
        task = current.periodic_task
        current.delete()
        if task is not None:
            task.delete()
            task.crontab.delete()


def check_owner(schedule: Schedule) -> User:
    """The owner as the database knows them now. Raises `Forbidden` (`schedule_owner_not_allowed`)."""
    owner: User = User.objects.get(pk=schedule.user_id)
    if not schedule_policy.can(owner, "create"):
        message = _("%(name)s, who owns the schedule, may not do this any more.") % {"name": owner.username}
        raise Forbidden("schedule_owner_not_allowed", message)
    return owner


def note(schedule: Schedule, *, result: str = "", error: str = "") -> None:
    """Keep what came of the last run, for people to read."""
    Schedule.objects.filter(pk=schedule.pk).update(last_result=result, last_error=error)


def settle_started() -> None:
    """Take the outcome of every job that a schedule started and that has ended; see `after_optimization`."""
    for optimization in _untaken():
        after_optimization(optimization)


def settle_jobs_of(schedule: Schedule) -> bool:
    """The same for the jobs of one schedule, before it starts the next one; whether there were any."""
    untaken = list(_untaken().filter(source_id=schedule.pk))
    for optimization in untaken:
        after_optimization(optimization)
    return bool(untaken)


def after_optimization(optimization: Optimization) -> None:
    """Note on the schedule that started it how an optimization has ended, and deploy its result if the schedule says so
    and it is proven better.

    That is done once for each job, whatever the schedule has met since: the job itself says that it is done. Submitting
    and deploying is done as the owner of the schedule. It raises nothing: what is refused stands in `last_error`, what
    was done in `last_result`. Of repeated and simultaneous calls one acts. Of a deleted schedule nothing is deployed.
    """
    with transaction.atomic():
        schedules = Schedule.objects.select_for_update(no_key=True).filter(pk=optimization.source_id)
        schedule: Schedule | None = schedules.first()
        if not _untaken().filter(pk=optimization.pk).update(is_noted=True) or schedule is None:
            return
        try:
            with transaction.atomic():
                note(schedule, result=_outcome(schedule, Optimization.objects.get(pk=optimization.pk)))
        except DomainError as error:
            note(schedule, error=_("Not deployed: %(why)s (%(code)s)") % {"why": error.message, "code": error.code})
        except Exception:
            logger.exception("What came of schedule %s could not be deployed", schedule)
            note(schedule, error=_("Not deployed: something went wrong on our side."))


def _untaken() -> models.QuerySet[Optimization]:
    """Jobs of schedules that have ended and whose outcome nobody has taken, the oldest first."""
    started: models.QuerySet[Optimization] = Optimization.objects.filter(source_kind=SOURCE_KIND, is_noted=False)
    return started.filter(state__in=TERMINAL_STATES).order_by("id")


def _outcome(schedule: Schedule, optimization: Optimization) -> str:
    """What came of it, in words; the deployment itself if there is to be one."""
    if optimization.state != JobState.COMPLETED:
        said = {"state": optimization.get_state_display(), "why": optimization.error_message}
        return (_("%(state)s: %(why)s") % said) if optimization.error_message else str(said["state"])
    if optimization.result_program is None or optimization.is_better is not True:
        return _("Nothing was proven better, so that nothing was deployed.")
    if not schedule.deploy_if_better:
        return _("%(program)s was proven better.") % {"program": optimization.result_program}
    if not schedule.is_enabled:
        return _("Not deployed: the schedule was switched off meanwhile.")
    return _("Deployed %(program)s.") % {"program": _deployed(schedule, optimization, optimization.result_program)}


def _deployed(schedule: Schedule, optimization: Optimization, result: Program) -> Program:
    owner = check_owner(schedule)
    _refuse_other_production(optimization.program)
    if result.status == ProgramStatus.DRAFT:
        result = submit_program(actor=owner, program=result)
    reason = _("Schedule %(name)s: proven better than %(before)s by optimization %(id)s") % {
        "name": schedule.name,
        "before": optimization.program,
        "id": optimization.pk,
    }
    return deploy_program(actor=owner, program=result, reason=reason)


def _refuse_other_production(compared: Program) -> None:
    """What is better than `compared` need not be better than a version that was deployed meanwhile."""
    for row in locked_versions(compared.name):
        if row.status == ProgramStatus.PRODUCTION and row.pk != compared.pk:
            message = _("%(production)s is in production, and it was compared with %(compared)s.")
            raise Conflict("production_changed", message % {"production": row, "compared": compared})


def _check_form(schedule: Schedule) -> None:
    if not isinstance(schedule.name, str) or not re.fullmatch(NAME_PATTERN, schedule.name):
        raise Invalid(
            "name_invalid",
            _("A name has lower-case letters, digits, - and _, begins with a letter and has at most 63 characters."),
            field="name",
        )
    if schedule.verb not in SHAPES:
        raise Invalid("verb_unknown", _("A schedule compiles or evaluates."), field="verb")
    if schedule.deploy_if_better and schedule.verb != COMPILE:
        raise Invalid(
            "deploy_if_better_invalid", _("Only what was compiled can be deployed."), field="deploy_if_better"
        )
    crontab_of(schedule.crontab, schedule.time_zone)


def _check_arguments(schedule: Schedule) -> None:
    """Look at them as the verb would, for the owner, and note whose program they name."""
    program = check_arguments(owner=schedule.user, verb=schedule.verb, arguments=schedule.arguments)
    schedule.program_name = program.name


def _refuse_taken_name(schedule: Schedule) -> None:
    if Schedule.objects.filter(name=schedule.name).exclude(pk=schedule.pk).exists():
        raise _schedule_exists()


def _saved(schedule: Schedule, *, actor: User, reason: str) -> Schedule:
    """Save it; of several at once that want the same name, one gets it. Raises `Conflict` (`schedule_exists`)."""
    try:
        with transaction.atomic():
            return save_with_history(schedule, actor=actor, reason=reason)
    except IntegrityError:
        raise _schedule_exists() from None


def _schedule_exists() -> Conflict:
    return Conflict("schedule_exists", _("There is a schedule of this name."), field="name")


def _set_periodic_task(schedule: Schedule) -> None:
    """Make django-celery-beat's rows say what the schedule says."""
    crontab = crontab_of(schedule.crontab, schedule.time_zone)
    task = schedule.periodic_task or PeriodicTask()
    if task.crontab is not None:
        crontab.pk = task.crontab_id
    crontab.save()
    task.crontab = crontab
    task.name = f"schedule {schedule.pk}"
    task.task, task.queue = TASK, QUEUE
    task.kwargs = json.dumps({"schedule": str(schedule.pk)})
    task.enabled = schedule.is_enabled
    # Beat counts from here; without it a new time of day would fire for the hours since the last run.
    task.last_run_at = schedule.due_after
    task.save()
    schedule.periodic_task = task


revertible(
    Schedule,
    ("name", "verb", "arguments", "crontab", "time_zone", "is_enabled", "deploy_if_better"),
    lambda actor, row, changes: change_schedule(actor=actor, schedule=row, **changes),
)
