"""Calls of code that may never come back: nobody waits for one longer than its time.

Python cannot stop a thread. A call that takes too long is left to itself, in a thread that does not keep the process
from ending; while several are left, nothing more is asked of that code, so that they stay few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")

AT_ONCE = 8
"""Calls from an event loop at a time, and calls that may be left before no other one is begun."""


class Overdue(Exception):
    """The call took too long, or earlier ones still do. The message says which."""


class BoundedCalls(Generic[T]):
    """Calls of one function, each for `seconds` at most. For any thread, and for one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._left: set[Future[T]] = set()

    def call(self, function: Callable[[], T]) -> T:
        """What `function` gives or raises. Blocks. Raises `Overdue`."""
        with self._begun(function) as answer:
            return answer.result(self._seconds)

    async def acall(self, function: Callable[[], T]) -> T:
        """The same on an event loop. Waiting for others does not count."""
        async with self._slots:
            with self._begun(function) as answer:
                return await asyncio.wait_for(asyncio.wrap_future(answer), self._seconds)

    @contextmanager
    def _begun(self, function: Callable[[], T]) -> Iterator[Future[T]]:
        if len(self._left) >= AT_ONCE:
            raise Overdue("is still busy with earlier answers")
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()  # from here on nobody can cancel it
        context = copy_context()
        Thread(target=lambda: context.run(_give, answer, function), name="bounded-call", daemon=True).start()
        try:
            yield answer
        except TimeoutError:
            if answer.done():
                raise  # its own
            raise Overdue(f"gave no score within {self._seconds:g} seconds") from None
        finally:
            if not answer.done():
                self._left.add(answer)
                answer.add_done_callback(self._left.discard)


def _give(answer: Future[T], function: Callable[[], T]) -> None:
    try:
        answer.set_result(function())
    except BaseException as error:
        answer.set_exception(error)
