"""Schedules for tests: arguments that can be started, schedules that are due, and jobs that have ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from mlops.models import User
from mlops.services.history import operator
from optimizations.models import Optimization, Schedule
from optimizations.services.running_schedules import run_due
from optimizations.services.schedules import create_schedule
from programs.models import Program
from programs.services import create_result_version, deploy_program
from programs.types import PromptSpec
from tests.optimizations.compiling import make_dataset, make_metric, make_program, matcher

EVERY_MINUTE = "* * * * *"


def compile_arguments(owner: User) -> dict[str, Any]:
    """Of a compile of `triage@production` that can be started."""
    matcher()
    deploy_program(actor=owner, program=make_program(owner, name="triage"))
    make_dataset(owner, 12, name="intents")
    make_metric(owner, name="right")
    return {
        "program": "triage@production",
        "dataset": "intents",
        "metric": "right",
        "optimizer": {"name": "labeled_few_shot", "params": {"k": 2}},
    }


def make_schedule(owner: User, arguments: dict[str, Any], **fields: Any) -> Schedule:
    defaults: dict[str, Any] = {"name": "weekly", "verb": "compile", "crontab": EVERY_MINUTE}
    return create_schedule(actor=owner, arguments=arguments, **{**defaults, **fields})


def make_due(schedule: Schedule) -> Schedule:
    """As if its minute had come."""
    Schedule.objects.filter(pk=schedule.pk).update(due_after=timezone.now() - timedelta(minutes=2))
    return schedule


def now(schedule: Schedule) -> Schedule:
    return Schedule.objects.get(pk=schedule.pk)


def started(schedule: Schedule) -> Optimization:
    """The job that the schedule starts when its minute has come."""
    run_due(make_due(schedule).pk)
    job: Optimization = Optimization.objects.filter(source_id=schedule.pk).latest("id")
    return job


def end(job: Optimization, *, is_better: bool | None, state: str = "completed", **fields: Any) -> Optimization:
    """The job with an end as its worker would write it."""
    if state == "completed":
        module = job.program.modules.get()
        fields["result_program"] = create_result_version(
            actor=operator(),
            program=job.program,
            prompts={module.key: PromptSpec("Look twice.", ())},
            source_kind="candidate",
            source_id=job.pk,
        )
    Optimization.objects.filter(pk=job.pk).update(
        state=state, finish_reason="finished", is_better=is_better, finished_at=timezone.now(), **fields
    )
    return Optimization.objects.get(pk=job.pk)


def ended(schedule: Schedule, **fields: Any) -> Optimization:
    return end(started(schedule), **fields)


def in_production() -> str:
    return str(Program.objects.get(name="triage", status="production"))
