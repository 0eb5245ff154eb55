"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")


class Bridge:
    """Runs coroutines for synchronous callers; their context variables go along."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="model-calls", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of `work`, or its exception. A caller that is interrupted cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[Any, None]) -> Iterator[Any]:
        """The items of an asynchronous generator, which is closed when the caller stops early."""
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                async for item in items:
                    arrived.put(item)
                arrived.put(_End())
            except BaseException as error:
                arrived.put(_End(error))
                raise
            finally:
                await items.aclose()

        future = asyncio.run_coroutine_threadsafe(pump(), self._loop)
        try:
            while not isinstance(item := arrived.get(), _End):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            future.cancel()


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Bridges:
    """The bridge of this process, made when first needed."""

    def __init__(self) -> None:
        self._bridge: Bridge | None = None
        self._lock = threading.Lock()

    def get(self) -> Bridge:
        with self._lock:
            if self._bridge is None:
                self._bridge = Bridge()
            return self._bridge


_bridges = _Bridges()


def bridge() -> Bridge:
    return _bridges.get()


def forget_bridge() -> None:
    """After a fork: the thread of the parent does not exist here."""
    global _bridges  # noqa: PLW0603  # the old lock may be held by a thread that is gone
    _bridges = _Bridges()
