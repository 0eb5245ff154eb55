"""How a process keeps a job that it works on. A lost worker's lease expires."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, models, transaction
from django.utils import timezone

from mlops.models import Job
from mlops.services.jobs.ending import store_moved
from mlops.services.jobs.stopping import Stopped, StopReason, is_stopping
from mlops.services.watching import announce
from mlops.types import JobState

logger = logging.getLogger(__name__)

J = TypeVar("J", bound=Job)

WATCH_S = 0.5
"""How long a cancellation can go unnoticed."""

REPORT_S = 0.5
"""Progress is stored at most this often."""


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
            store_moved(row)
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
        if not self._mine().update(lease_expires_at=lease_end()):
            self._stop = self._stop or StopReason.LOST

    def _look(self) -> None:
        if self._mine().exclude(cancel_requested_at=None).exists():
            self._stop = self._stop or StopReason.CANCELLED


def lease_end() -> datetime:
    """When a lease that is taken or renewed now expires."""
    return timezone.now() + timedelta(seconds=settings.SIGNET_LEASE_SECONDS)


def _handed_back(row: Job) -> None:
    row.idle_attempts = 0  # the worker left in good order
    row.hand_back()


def _cancelled(row: Job) -> None:
    row.cancel()
