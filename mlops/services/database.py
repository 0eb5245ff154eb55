"""The few threads through which the event loop reaches the ORM, each with a connection that lasts."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections

T = TypeVar("T")

DATABASE_THREADS = 4
"""More do not help: reading rows is bound by the interpreter lock, not by the database."""


class DatabaseThreads:
    """Runs ORM calls of an event loop. Connections last as long as their thread, whatever CONN_MAX_AGE says."""

    def __init__(self, size: int = DATABASE_THREADS) -> None:
        self._size = size
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="database")

    async def run(self, call: Callable[[], T]) -> T:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, _with_sound_connections, call)

    def close(self) -> None:
        """End the threads and their connections."""
        together = threading.Barrier(self._size)

        def leave() -> None:
            together.wait(timeout=30)  # so that every thread takes exactly one of these calls
            connections.close_all()

        for _ in range(self._size):
            self._pool.submit(leave)
        self._pool.shutdown(wait=True)


_of_this_process: DatabaseThreads | None = None


def serve_this_process(threads: DatabaseThreads | None) -> None:
    """Make `threads` those that `off_the_loop` uses; the process's loop does it when it starts and stops."""
    global _of_this_process  # noqa: PLW0603  # one per process by design
    _of_this_process = threads


async def off_the_loop(call: Callable[[], T]) -> T:
    """Run an ORM call of code on an event loop; in a process without database threads on one that it gives back."""
    if _of_this_process is None:
        return await asyncio.to_thread(_and_give_back, call)
    return await _of_this_process.run(call)


def _and_give_back(call: Callable[[], T]) -> T:
    try:
        return call()
    finally:
        connections.close_all()


def _with_sound_connections(call: Callable[[], T]) -> T:
    """Run `call`; once more when its lasting connection turned out to be dead.

    That is safe here: what these threads run reads, or changes rows under a guard that a repetition no longer meets.
    """
    try:
        return call()
    except (OperationalError, InterfaceError):
        if not _give_up_broken_connections():
            raise
        return call()
    finally:
        _give_up_broken_connections()


def _give_up_broken_connections() -> bool:
    """Close what was left broken or inside a transaction; whether anything was."""
    broken = [
        used
        for used in connections.all(initialized_only=True)
        if used.in_atomic_block or (used.errors_occurred and not used.is_usable())
    ]
    for used in broken:
        used.close()
    return bool(broken)
