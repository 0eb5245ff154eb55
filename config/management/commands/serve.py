"""`manage.py serve`: the web server, a Celery worker and beat in one process; nothing else has to run."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from celery import Celery
from celery.beat import EmbeddedService
from celery.worker import WorkController
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.celery import app

logger = logging.getLogger(__name__)

STOP_S = 15
"""How long requests and tasks may take to end once the process is asked to stop."""


class EmbeddedWorker:
    """A Celery worker in a thread of this process."""

    def __init__(self, celery: Celery) -> None:
        celery.finalize()
        self._worker = WorkController(
            app=celery, pool_cls="threads", concurrency=2, hostname="embedded@localhost", loglevel="WARNING",
            without_gossip=True, without_mingle=True, without_heartbeat=True, quiet=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._worker.start, name="celery-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._worker.stop()
        self._thread.join(STOP_S)


class Server(uvicorn.Server):
    """Starts worker and beat once the application is up, and stops them before it goes down."""

    def __init__(self, config: uvicorn.Config, worker: EmbeddedWorker | None, beat: Any) -> None:
        super().__init__(config)
        self._worker, self._beat = worker, beat

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The command's own handlers stay: uvicorn's would raise the signal again and kill the worker in its work."""
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started and self._worker is not None:
            self._worker.start()
            self._beat.start()


class Command(BaseCommand):
    help = "Serve admin, REST, worker and beat in one process."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-worker", action="store_true", help="worker and beat run elsewhere")

    def handle(self, *, host: str, port: int, no_worker: bool, **options: Any) -> None:
        embedded = settings.SIGNET_IS_EMBEDDED and not no_worker
        worker = EmbeddedWorker(app) if embedded else None
        beat = EmbeddedService(app, max_interval=5, thread=True, scheduler_cls=app.conf.beat_scheduler)
        config = uvicorn.Config(
            "config.asgi:application", host=host, port=port, loop="uvloop", http="httptools", lifespan="on",
            log_level="warning", timeout_graceful_shutdown=STOP_S,
        )  # fmt: skip
        server = Server(config, worker, beat)
        self._stop_on_signals(server)
        self.stdout.write(f"Serving on http://{host}:{port}/admin/ (Ctrl-C stops)")
        try:
            server.run()
        finally:
            if worker is not None:
                beat.stop()
                worker.stop()
        if not server.started:
            raise CommandError(f"The server could not start on {host}:{port}.")
        self.stdout.write("Stopped; nothing was left running.")

    def _stop_on_signals(self, server: uvicorn.Server) -> None:
        """The first signal stops cleanly, the second at once."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            if server.should_exit:
                os._exit(1)
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
