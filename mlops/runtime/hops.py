"""DSPy moves a few CPU-only steps of each model call to a thread; here they run where they are.

`dspy.LM.acall` prepares a request and prices an answer with `asyncio.to_thread`, so that a metadata look-up never holds
up the loop. With engines of our own there is no look-up: two hops per call, each with a switch of the interpreter lock,
would cost more than what they move. Everything else still gets a thread of the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

CPU_ONLY = frozenset({"prepare", "_price_result"})
"""Functions of `dspy.clients` that neither wait nor compute for long."""


class LoopExecutor(ThreadPoolExecutor):
    """A loop's default executor: a pool of threads, but DSPy's CPU-only steps run at once in the calling thread."""

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        if not _is_cpu_only(call):
            return super().submit(call, *args, **kwargs)
        done: Future[T] = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


def _is_cpu_only(call: Callable[..., Any]) -> bool:
    """Whether `call` is what `asyncio.to_thread` makes of one of DSPy's functions: a partial of `Context.run`."""
    if not isinstance(call, partial) or not call.args:
        return False
    target = call.args[0]
    return getattr(target, "__name__", "") in CPU_ONLY and getattr(target, "__module__", "").startswith("dspy.clients.")
