"""How workers are called, take jobs and do them."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from celery import current_app
from django.db import InterfaceError, OperationalError, connection, models, transaction
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError as BrokerError

from mlops.errors import DomainError
from mlops.models import Job
from mlops.models.base import new_id
from mlops.services.jobs.holding import Held, lease_end
from mlops.services.jobs.stopping import Stopped, is_stopping
from mlops.services.watching import announce
from mlops.types import JobState

logger = logging.getLogger(__name__)

J = TypeVar("J", bound=Job)

_slots: dict[type[Job], threading.Lock] = {}
_slots_lock = threading.Lock()


def ring(task: str, queue: str) -> None:
    """Tell a worker, once the present transaction is committed, that there is something to do.

    A message that is lost costs the time until beat rings again.
    """

    def send() -> None:
        try:
            current_app.send_task(task, queue=queue, expires=60, retry=False, ignore_result=True)
        except BrokerError:
            logger.warning("The broker does not answer; workers will find what is pending when beat rings")

    transaction.on_commit(send)


def claim(rows: models.QuerySet[J]) -> J | None:
    """Take the oldest pending job of `rows`, or None. Of many that ask at once each gets another one."""
    while True:
        with transaction.atomic():
            waiting = rows.filter(state=JobState.PENDING).order_by("id")
            if connection.features.has_select_for_update_skip_locked:
                waiting = waiting.select_for_update(skip_locked=True, of=("self",))
            job = waiting.first()
            if job is None:
                return None
            job.start(lease_token=new_id(), lease_expires_at=lease_end(), leased_by=_name())
            if _store(job, JobState.PENDING, None):
                announce(job)
                return job


def work_through(rows: models.QuerySet[J], work: Callable[[Held[J]], None]) -> int:
    """Work on the pending jobs of `rows`, one after the other, until none is left; how many ended here.

    One job of a model at a time per process: a second call while one is under way returns at once, so that waiting
    doorbells never fill a pool of threads.
    """
    slot = _slot(rows.model)
    if not slot.acquire(blocking=False):
        return 0
    ended = 0
    try:
        while not is_stopping() and (job := claim(rows)) is not None:
            ended += work_on(job, work)
    finally:
        slot.release()
    return ended


def work_on(job: J, work: Callable[[Held[J]], None]) -> bool:
    """Do `work` on a claimed job; whether it ended here.

    Work that returns without having ended the job completes it. A `DomainError` fails it in its own words, `Stopped`
    cancels it or hands it back, and anything else fails it as an internal error.
    """
    with Held(job) as held:
        try:
            _do(held, work)
        except (OperationalError, InterfaceError):
            logger.warning("The database does not answer; the lease of %s will expire", job.pk)
    return held.has_ended


def _do(held: Held[J], work: Callable[[Held[J]], None]) -> None:
    try:
        _ended(held, work)
    except Stopped as stop:
        held.end_stopped(stop.reason)


def _ended(held: Held[J], work: Callable[[Held[J]], None]) -> None:
    try:
        work(held)
    except (Stopped, OperationalError, InterfaceError):
        raise
    except DomainError as error:
        code, message = error.code, error.message
        held.end(lambda row: row.fail(code, message))
    except Exception:
        logger.exception("Work on %s met what nobody foresaw", held.job.pk)
        held.end(lambda row: row.fail("internal_error", _("Something went wrong on our side.")))
    else:
        if not held.has_ended:
            held.end(lambda row: row.complete())


def _store(job: J, state: JobState, token: uuid.UUID | None) -> bool:
    """Store a transition, if the row is still in the state that it was made from."""
    model: Any = type(job)
    values = {
        column.attname: getattr(job, column.attname)
        for column in model._meta.concrete_fields
        if column.name in _LEASE_COLUMNS
    }
    return bool(model._base_manager.filter(pk=job.pk, state=state, lease_token=token).update(**values))


_LEASE_COLUMNS = frozenset(
    {
        "state",
        "revision",
        "attempt",
        "idle_attempts",
        "lease_token",
        "lease_expires_at",
        "leased_by",
        "started_at",
    }
)


def _slot(model: type[Job]) -> threading.Lock:
    with _slots_lock:
        return _slots.setdefault(model, threading.Lock())


def _name() -> str:
    return f"{socket.gethostname()[:60]}:{os.getpid()}"
