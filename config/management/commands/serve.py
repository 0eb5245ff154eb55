"""`manage.py serve`: the web server, a Celery worker and beat in one process; nothing else has to run.

On a database without programs the sample workspace is loaded first and the main job runs once, step by step.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.celery import app
from config.demo import first_run
from config.embedded import STOP_S, EmbeddedBeat, EmbeddedWorker
from config.websockets import WebSocketProtocol
from mlops.api.health import broker_answers
from mlops.services.jobs import stop_working


def port_number(text: str) -> int:
    """The number of a port. Raises `ArgumentTypeError` that names the variable it usually comes from."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("PORT: expected the number of a port, 1 to 65535")
    return int(text)


LOOP = "mlops.runtime.loops:ExecutionEventLoop"


class Server(uvicorn.Server):
    """Starts worker and beat once the application is up; `stop_worker` ends them after it."""

    def __init__(self, config: uvicorn.Config, worker: EmbeddedWorker | None, beat: EmbeddedBeat) -> None:
        super().__init__(config)
        self._worker, self._beat = worker, beat
        self._is_working = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The command's own handlers stay: uvicorn's would raise the signal again and kill the worker in its work."""
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started and self._worker is not None:
            await asyncio.to_thread(self._worker.start)  # it makes this very loop claim executions
            self._beat.start()
            self._is_working = True

    def stop_worker(self) -> None:
        """Wait until worker and beat have ended; they must not be waited for when they never began."""
        if self._is_working and self._worker is not None:
            self._beat.stop()
            self._worker.stop()


class Command(BaseCommand):
    help = "Serve admin, REST, worker and beat in one process; without any program the sample is loaded first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=port_number, default=8000)
        parser.add_argument("--no-worker", action="store_true", help="worker and beat run elsewhere")

    def handle(self, *, host: str, port: int, no_worker: bool, **options: Any) -> None:
        if not broker_answers():
            raise CommandError("REDIS_URL: nothing answers there; expected the address of a running Redis, or none")
        taken = self._listening(host, port)
        first_run(self.stdout)
        embedded = settings.SIGNET_IS_EMBEDDED and not no_worker
        worker = EmbeddedWorker(app) if embedded else None
        beat = EmbeddedBeat(app)
        config = uvicorn.Config(
            "config.asgi:application", host=host, port=port, loop=LOOP, http="httptools", lifespan="on",
            log_level="warning", proxy_headers=False, timeout_graceful_shutdown=STOP_S,
            ws=WebSocketProtocol, ws_max_size=settings.SIGNET_MAX_BODY_BYTES,
        )  # fmt: skip
        server = Server(config, worker, beat)
        self._stop_on_signals(server)
        self.stdout.write(f"Serving on http://{host}:{port}/admin/ (Ctrl-C stops)")
        try:
            server.run([taken])
        finally:
            server.stop_worker()
        if not server.started:
            raise CommandError(f"The server could not start on {host}:{port}.")
        self.stdout.write("Stopped; nothing was left running.")

    def _listening(self, host: str, port: int) -> socket.socket:
        """The server's socket, taken before minutes of work that would be for nothing."""
        try:
            family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError as error:
            raise CommandError(f"PORT: {host}:{port} cannot be used ({error.strerror}); choose another one") from None
        return listener

    def _stop_on_signals(self, server: uvicorn.Server) -> None:
        """The first signal stops cleanly, the second at once."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            if server.should_exit:
                os._exit(1)
            server.should_exit = True
            stop_working()  # jobs need not wait until the last reader of a stream has gone

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
