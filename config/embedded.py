"""A Celery worker inside of this process, for installations that have nothing but Python."""

from __future__ import annotations

import threading
from typing import Any

from celery import Celery
from celery.worker import WorkController

STOP_S = 15
"""How long tasks may take to end once the worker is asked to stop."""

START_S = 30


class _Controller(WorkController):
    """Says when it takes tasks: Celery's own signal is only sent by its command."""

    def __init__(self, ready: threading.Event, **options: Any) -> None:
        self._is_ready = ready
        super().__init__(**options)

    def on_consumer_ready(self, consumer: Any) -> None:
        self._is_ready.set()


class EmbeddedWorker:
    """A worker in a thread; as any worker of `ml_inference` it makes this process claim executions."""

    def __init__(self, celery: Celery) -> None:
        celery.finalize()
        self._ready = threading.Event()
        self._worker = _Controller(
            self._ready, app=celery, pool_cls="threads", concurrency=2, hostname="embedded@localhost",
            loglevel="WARNING", without_gossip=True, without_mingle=True, without_heartbeat=True, quiet=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._worker.start, name="celery-worker", daemon=True)

    def start(self) -> None:
        """Start and return when tasks are taken. Raises `RuntimeError` when that does not happen."""
        self._thread.start()
        if not self._ready.wait(START_S):
            raise RuntimeError("The embedded worker did not start; the log says why.")

    def stop(self) -> None:
        self._worker.stop()
        self._thread.join(STOP_S)
