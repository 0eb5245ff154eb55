"""Celery's side of optimizations: the doorbell and the sweeper."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from optimizations.services import forgetting, running_schedules, schedules, working


@shared_task(name="optimizations.work")
def work() -> None:
    """Something may be pending. One compile at a time per process; it may take hours."""
    working.work_optimizations()


@shared_task(name="optimizations.sweep")
def sweep() -> None:
    """Look after what lost workers have left, and after what schedules have started or failed to start."""
    working.sweep_optimizations()
    schedules.settle_started()
    running_schedules.run_interrupted()


@shared_task(name="optimizations.forget_answers")
def forget_answers() -> None:
    """Delete the remembered answers of jobs that ended days ago."""
    forgetting.forget_answers()


@shared_task(name=schedules.TASK)
def run_schedule(schedule: str) -> None:
    """Beat says that a schedule is due."""
    running_schedules.run_due(UUID(schedule))
