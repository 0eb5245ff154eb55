"""The event loop on which executions run: uvloop's, without needless trips to threads.

`dspy.LM.acall` prepares a request and prices an answer with `asyncio.to_thread`, so that a metadata look-up never holds
up the loop. With engines of our own there is no look-up: two trips per call, each with a wake-up of the loop and a
switch of the interpreter lock, took about a tenth of the loop's time in profiles. Everything else still gets a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

CPU_ONLY = frozenset({"prepare", "_price_result"})
"""Functions of `dspy.clients` that neither wait nor compute for long."""


class ExecutionEventLoop(uvloop.Loop):
    """For `uvicorn --loop mlops.runtime.loops:ExecutionEventLoop` and for loops in threads."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """DSPy's CPU-only steps at once and in place, all else in a thread."""
        if executor is not None or not _is_cpu_only(func):
            return super().run_in_executor(executor, func, *args)  # type: ignore[return-value]
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def _is_cpu_only(call: Callable[..., Any]) -> bool:
    """Whether `call` is what `asyncio.to_thread` makes of one of DSPy's functions: a partial of `Context.run`."""
    if not isinstance(call, partial) or not call.args:
        return False
    target = call.args[0]
    return getattr(target, "__name__", "") in CPU_ONLY and getattr(target, "__module__", "").startswith("dspy.clients.")
