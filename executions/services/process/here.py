"""The event loop of this process, of which there is one."""

from __future__ import annotations

import asyncio
import gc
import threading

from executions.services.process.executing import ExecutionProcess
from mlops.runtime.loops import ExecutionEventLoop

_process: ExecutionProcess | None = None
_lock = threading.Lock()


def forget_budgets() -> None:
    """Budgets may have changed in this process."""
    if _process is not None:
        _process.budgets.forget()


def settle_heap() -> None:
    """For processes that only execute: DSPy's heap is large and lasts, and full collections of it would stop everything
    for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def present() -> ExecutionProcess | None:
    """This process's loop, if one was started."""
    return _process


async def start_here() -> ExecutionProcess:
    """Make the running event loop the one of this process."""
    global _process  # noqa: PLW0603  # one per process by design
    process = ExecutionProcess()
    await process.start()
    _process = process
    return process


async def stop_here() -> None:
    """End what `start_here` began. Until then it is the process's loop: it admits nothing more, and answers."""
    global _process  # noqa: PLW0603  # as above
    if _process is not None:
        try:
            await _process.stop()
        finally:
            _process = None


class LoopThread:
    """An event loop in a thread, for processes that have none of their own: Celery workers, scripts, tests."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="execution-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Drain and end; returns when everything is stored or handed back."""
        process = _process
        if process is not None and self._stop is not None:
            process.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=ExecutionEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        try:
            await start_here()
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        await stop_here()


_thread: LoopThread | None = None


def ensure_started() -> ExecutionProcess:
    """This process's loop; a thread with one is started when there is none. For synchronous callers."""
    global _thread  # noqa: PLW0603  # as above
    with _lock:
        if _process is None:
            _thread = LoopThread()
            _thread.start()
    assert _process is not None
    return _process


async def aensure_started() -> ExecutionProcess:
    """`ensure_started` for callers on an event loop: under a server it is theirs."""
    if _process is not None:
        return _process
    return await asyncio.to_thread(ensure_started)


def stop_thread() -> None:
    """End the thread of `ensure_started`, if there is one."""
    global _thread
    thread, _thread = _thread, None
    if thread is not None:
        thread.stop()


# Earlier than `atexit`, when the pools of threads are closed already: what runs in a script that ends is stored or
# handed back, and no thread is left inside of the loop for the interpreter to tear down.
threading._register_atexit(stop_thread)  # type: ignore[attr-defined]  # as the pools themselves do
