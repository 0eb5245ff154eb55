"""How workers take jobs, keep them, and end them exactly once.

The row is the queue and a Celery message only the doorbell: whoever holds a job's lease works on it, and every write
that concerns it is guarded by that lease. A lost worker's jobs are handed back by `sweep` when their lease expires.
"""

from __future__ import annotations

import logging
import mmap
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

from celery import current_app
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError as BrokerError

from mlops.errors import Conflict, DomainError
from mlops.models import Job
from mlops.models.base import new_id
from mlops.services.watching import announce
from mlops.types import JobState

logger = logging.getLogger(__name__)

J = TypeVar("J", bound=Job)

WATCH_S = 0.5
"""How long a cancellation can go unnoticed."""

REPORT_S = 0.5
"""Progress is stored at most this often."""

MAX_IDLE_ATTEMPTS = 5
"""Attempts without any progress after which a job counts as one that kills its workers."""


class StopReason(StrEnum):
    """Why work on a job has to stop before it is done."""

    CANCELLED = "cancelled"
    HANDED_BACK = "handed_back"
    LOST = "lost"


class Stopped(Exception):
    """Raised in work on a job that must not go on."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


_shutting_down = mmap.mmap(-1, 1)
"""One byte that a process shares with those that are forked from it: a prefork worker's parent hears of the shutdown,
its children do the work."""

_closing: dict[type[Job], Callable[[Any], None]] = {}
_slots: dict[type[Job], threading.Lock] = {}
_slots_lock = threading.Lock()


def stop_working() -> None:
    """This process ends: whoever works on a job here, or in a process forked from it, is told to hand it back."""
    _shutting_down[0] = 1


def resume_working() -> None:
    """The opposite, for processes that start a worker again."""
    _shutting_down[0] = 0


def is_stopping() -> bool:
    return bool(_shutting_down[0])


def when_ended(model: type[J], close: Callable[[J], None]) -> None:
    """Have `close` called whenever a job of `model` ends, whoever ends it: its worker, the sweeper, or who cancels it.

    It is called in the transaction that ends the job, with the row in its last state and before that is stored: what it
    sets on the row is stored too. What it raises keeps the job from ending.
    """
    _closing[model] = close


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
            job.start(lease_token=new_id(), lease_expires_at=_lease_end(), leased_by=_name())
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


class Held(Generic[J]):
    """A job that this process works on: a thread keeps its lease and hears of cancellations meanwhile."""

    def __init__(self, job: J) -> None:
        self.job = job
        self.token = job.lease_token
        self.has_ended = False
        self.model: Any = type(job)
        self._stop: StopReason | None = None
        self._done = threading.Event()
        self._reported = 0.0
        self._gets_on = False
        self._keeper = threading.Thread(target=self._keep, name=f"lease-{job.pk}", daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._keeper.join()

    @property
    def stop_reason(self) -> StopReason | None:
        """Why work has to stop, if it has to. Cheap, and callable from any thread."""
        if self._stop is None and is_stopping():
            return StopReason.HANDED_BACK
        return self._stop

    def check(self) -> None:
        """Raise `Stopped` if work has to stop."""
        if reason := self.stop_reason:
            raise Stopped(reason)

    def report(self, progress: Mapping[str, Any], *, force: bool = False, lasting: bool = True, **columns: Any) -> None:
        """Store progress and other columns, at most every `REPORT_S` unless forced. Raises `Stopped` if work must stop.

        What is `lasting`, so that a further attempt need not do it again, says that the job gets on: attempts are
        counted from here.
        """
        self.check()
        now = time.monotonic()
        if not force and now - self._reported < REPORT_S:
            return
        self._reported = now
        values = {"progress": dict(progress), "revision": models.F("revision") + 1, **columns}
        if lasting:
            values["idle_attempts"] = 0
        if not self._mine().update(**values):
            self._lose()
        self.job.progress = dict(progress)
        announce(self.model.objects.only("state", "revision").get(pk=self.job.pk))

    def get_on(self) -> None:
        """Something was stored that a further attempt need not do again: attempts are counted from here.

        For work that stores between reports; repeating it costs nothing. Raises `Stopped` when the lease was lost.
        """
        if self._gets_on:
            return
        if not self._mine().update(idle_attempts=0):
            self._lose()
        self._gets_on = True

    @contextmanager
    def guard(self) -> Iterator[J]:
        """A transaction in which the job is locked and still ours; it yields the row as it is. Raises `Stopped`."""
        with transaction.atomic():
            row = self._mine().select_for_update(of=("self",)).first()
            if row is None:
                self._lose()
            yield row

    def end(self, move: Callable[[J], None], *, also: Callable[[J], None] | None = None) -> None:
        """Make the last transition of the job, and with it what `also` writes, both or neither.

        Raises `Stopped` when the lease was lost: then somebody else ends it.
        """
        with self.guard() as row:
            move(row)
            if also is not None:
                also(row)
            _store_moved(row)
        self.has_ended = row.is_terminal
        self.job = row
        announce(row)

    def end_stopped(self, reason: StopReason) -> None:
        """Cancel the job or hand it back; without effect when it is not ours any more."""
        if reason is StopReason.LOST:
            return
        try:
            self.end(_cancelled if reason is StopReason.CANCELLED else _handed_back)
        except Stopped:
            logger.warning("%s was taken over", self.job.pk)

    def _mine(self) -> models.QuerySet[J]:
        mine: models.QuerySet[J] = self.model._base_manager.filter(
            pk=self.job.pk, state=JobState.RUNNING, lease_token=self.token
        )
        return mine

    def _lose(self) -> NoReturn:
        self._stop = StopReason.LOST
        raise Stopped(StopReason.LOST)

    def _keep(self) -> None:
        renewed = time.monotonic()
        try:
            while not self._done.wait(WATCH_S):
                try:
                    if time.monotonic() - renewed > settings.SIGNET_LEASE_SECONDS / 3:
                        self._renew()
                        renewed = time.monotonic()
                    self._look()
                except (OperationalError, InterfaceError):
                    connection.close()
                    logger.warning("The database does not answer; the lease of %s is not renewed", self.job.pk)
        finally:
            connection.close()

    def _renew(self) -> None:
        if not self._mine().update(lease_expires_at=_lease_end()):
            self._stop = self._stop or StopReason.LOST

    def _look(self) -> None:
        if self._mine().exclude(cancel_requested_at=None).exists():
            self._stop = self._stop or StopReason.CANCELLED


def request_cancel(job: J) -> J:
    """Cancel a pending job at once; ask the worker of a running one to stop. Repeating is harmless.

    The caller has asked the policy. Raises `Conflict` (`<model>_not_cancellable`) for a job that has ended otherwise.
    """
    model: Any = type(job)
    with transaction.atomic():
        row: J = model._base_manager.select_for_update(of=("self",)).get(pk=job.pk)
        if row.state == JobState.PENDING:
            row.cancel_requested_at = row.cancel_requested_at or timezone.now()
            row.cancel()
            _store_moved(row)
        elif row.state == JobState.RUNNING:
            if row.cancel_requested_at is None:
                row.cancel_requested_at = timezone.now()
                row.revision += 1
                row.save(update_fields=["cancel_requested_at", "revision"])
        elif row.state != JobState.CANCELLED:
            code = f"{model._meta.model_name}_not_cancellable"
            raise Conflict(code, _("It has ended already."))
    announce(row)
    return row


def sweep(model: type[J]) -> int:
    """Hand back, cancel or fail the jobs whose workers have disappeared; how many are pending now."""
    manager: Any = model._base_manager
    for key in list(
        manager.filter(state=JobState.RUNNING, lease_expires_at__lt=timezone.now()).values_list("pk", flat=True)
    ):
        with transaction.atomic():
            row: J | None = (
                manager.select_for_update(of=("self",))
                .filter(pk=key, state=JobState.RUNNING, lease_expires_at__lt=timezone.now())
                .first()
            )
            if row is None:
                continue
            _end_abandoned(row)
            _store_moved(row)
        announce(row)
    pending: int = manager.filter(state=JobState.PENDING).count()
    return pending


def _store_moved(row: Job) -> None:
    """Store a row after a transition, with what belongs to its end if it has ended."""
    close = _closing.get(type(row))
    if row.is_terminal and close is not None:
        close(row)
    row.save()


def _end_abandoned(row: Job) -> None:
    if row.cancel_requested_at is not None:
        row.cancel()
    elif row.idle_attempts >= MAX_IDLE_ATTEMPTS:
        message = _("Its worker disappeared %(n)d times without getting on.") % {"n": row.idle_attempts}
        row.fail("lease_lost", message)
    else:
        row.hand_back()


def _handed_back(row: Job) -> None:
    row.idle_attempts = 0  # the worker left in good order
    row.hand_back()


def _cancelled(row: Job) -> None:
    row.cancel()


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


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.SIGNET_LEASE_SECONDS)


def _name() -> str:
    return f"{socket.gethostname()[:60]}:{os.getpid()}"
