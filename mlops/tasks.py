"""Celery's side of the foundation: sweepers, and a worker that is asked to stop hands back what it works on."""

from __future__ import annotations

from typing import Any

from celery import bootsteps, shared_task

from mlops.services.budgets import sweep_slices, tell_of_budgets
from mlops.services.idempotency import forget_expired_keys
from mlops.services.jobs import resume_working, stop_working
from mlops.services.reservations import sweep_reservations
from mlops.sessions import SessionStore


@shared_task(name="mlops.sweep_reservations")
def sweep_leaked_reservations() -> None:
    """End what holds credits back for work that is over."""
    sweep_reservations()


@shared_task(name="mlops.look_after_budgets")
def look_after_budgets() -> None:
    """Take back what lost processes held, and send the mails that are due."""
    sweep_slices()
    tell_of_budgets()


@shared_task(name="mlops.forget_expired_keys")
def forget_keys() -> None:
    """Delete idempotency keys that may be spent again."""
    forget_expired_keys()


@shared_task(name="mlops.forget_expired_sessions")
def forget_sessions() -> None:
    """Delete sessions that are over; who logs out has deleted theirs."""
    SessionStore.clear_expired()


class HandBackJobs(bootsteps.StartStopStep):
    """Closing comes before stopping, which waits until the pool has nothing left to do."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        resume_working()

    def close(self, worker: Any) -> None:
        stop_working()
