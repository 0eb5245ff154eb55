"""A Celery worker and beat inside of this process, for installations that have nothing but Python."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import Celery
from celery.beat import Scheduler, Service
from celery.worker import WorkController
from django.db import DatabaseError, InterfaceError, connections

from mlops.services.jobs import resume_working

logger = logging.getLogger(__name__)

STOP_S = 15
"""How long tasks may take to end once the worker is asked to stop."""

START_S = 30

BEAT_AGAIN_S = 2
"""How long beat rests when the database does not answer."""


class _Controller(WorkController):
    """Says when it takes tasks: Celery's own signal is only sent by its command."""

    def __init__(self, ready: threading.Event, **options: Any) -> None:
        self._is_ready = ready
        super().__init__(**options)

    def on_consumer_ready(self, consumer: Any) -> None:
        self._is_ready.set()


QUEUES = ("ml_inference", "ml_training")

THREADS = 8
"""One for each kind of job that may be under way, and some for doorbells, sweepers and schedules."""


class EmbeddedWorker:
    """A worker in a thread; as any worker of `ml_inference` it makes this process claim executions.

    Asked to stop it hands back the jobs that it works on (`mlops.tasks`).
    """

    def __init__(self, celery: Celery) -> None:
        celery.finalize()
        self._ready = threading.Event()
        self._worker = _Controller(
            self._ready, app=celery, hostname="embedded@localhost", pool_cls="threads", concurrency=THREADS,
            queues=QUEUES, loglevel="WARNING", without_gossip=True, without_mingle=True, without_heartbeat=True,
            quiet=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._worker.start, name="celery-worker", daemon=True)

    def start(self) -> None:
        """Start and return when tasks are taken. Raises `RuntimeError` when that does not happen."""
        self._thread.start()
        if not self._ready.wait(START_S):
            raise RuntimeError("The embedded worker did not start; the log says why.")

    def stop(self) -> None:
        """Stop; afterwards this process, which goes on, may work on jobs again."""
        self._worker.stop()
        self._thread.join(STOP_S)
        resume_working()


class EmbeddedBeat:
    """Beat in a thread. When the database was away it begins anew, as a process of its own would be started again."""

    def __init__(self, celery: Celery, scheduler: type[Scheduler] | str | None = None) -> None:
        self._celery = celery
        self._scheduler: Any = scheduler or celery.conf.beat_scheduler
        self._stopping = threading.Event()
        self._service = self._new_service()
        self._thread = threading.Thread(target=self._main, name="beat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._service.stop()
        self._thread.join(STOP_S)

    def _new_service(self) -> Any:
        return Service(self._celery, max_interval=1, scheduler_cls=self._scheduler)

    def _main(self) -> None:
        self._celery.set_current()
        while not self._stopping.is_set():
            try:
                self._service.start()
            except (DatabaseError, InterfaceError):
                logger.warning("The database does not answer; beat begins anew in a while")
            finally:
                connections.close_all()
            self._stopping.wait(BEAT_AGAIN_S)
            self._service = self._new_service()
