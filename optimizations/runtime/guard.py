"""The guard of a compile: what it has used, when it must stop, and how it is made to.

Optimizers swallow exceptions in dozens of places and go on; what gets through is a `BaseException`. Once stopped, every
later call of a model or of the metric raises it again, in whatever thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mlops.types import TokenUsage
from optimizations.types import Budget, FinishReason

MAX_FAILURES_IN_A_ROW = 25
"""So many failed model calls, or failed scores, with no good one between them end a compile."""

_WAIT_FOR_CALLS_S = 600.0
Value = TypeVar("Value")


class CompileStopped(BaseException):
    """A compile was stopped. Not an `Exception`: DSPy, optuna and gepa would take that for a bad candidate."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a compile was stopped; a failure has a code and words that may be shown."""

    reason: FinishReason
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one answer, or all of them, used. Cost in pico-dollars, None once any price is unknown."""

    calls: int = 0
    by_model: dict[str, TokenUsage] = field(default_factory=dict)
    cost: int | None = 0

    @property
    def usage(self) -> TokenUsage:
        return sum(self.by_model.values(), TokenUsage())

    def plus(self, other: Spent) -> Spent:
        models = [*self.by_model, *(name for name in other.by_model if name not in self.by_model)]
        return Spent(
            self.calls + other.calls,
            {name: self._of(name) + other._of(name) for name in models},
            None if self.cost is None or other.cost is None else self.cost + other.cost,
        )

    def since(self, before: Spent) -> Spent:
        """What came on top of `before`."""
        return Spent(
            self.calls - before.calls,
            {name: usage - before._of(name) for name, usage in self.by_model.items()},
            None if self.cost is None or before.cost is None else self.cost - before.cost,
        )

    def _of(self, model: str) -> TokenUsage:
        return self.by_model.get(model, TokenUsage())


class Guard:
    """Counts and stops. Shared by all threads of one compile.

    Answers that an earlier run of the job has paid for count like new ones, so that a resumed job stops where an
    uninterrupted one would have.
    """

    def __init__(self, limits: Budget, should_stop: Callable[[], FinishReason | None]) -> None:
        self._limits = limits
        self._should_stop = should_stop
        self._began = time.monotonic()
        self._idle = threading.Condition()
        self._under_way = 0
        self._begun = 0
        self._bad_calls_in_a_row = 0
        self.spent = Spent()
        self.paid_now = 0
        self.failed_calls = 0
        self.last_failure = ("", "")
        """Code and words of the model call that failed last."""
        self.stopped: Stop | None = None
        self._is_over = False
        self.broken: BaseException | None = None
        """What a port raised; it is the caller's own and passes through everything."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def check(self) -> None:
        """Raises `CompileStopped` if the compile is over, or is to be."""
        if self.stopped is None:
            reason = self.through(self._should_stop)
            limit_s = self._limits.seconds
            if reason is not None:
                self.stop(Stop(reason))
            elif limit_s is not None and self.seconds >= limit_s:
                self.stop(Stop(FinishReason.DEADLINE))
        if self.stopped is not None:
            raise CompileStopped(self.stopped.reason)

    def stop(self, stop: Stop) -> None:
        """Let nothing more begin. The first reason stays."""
        with self._idle:
            self.stopped = self.stopped or stop

    def through(self, port: Callable[..., Value], *arguments: Any) -> Value:
        """The answer of a port; what it raises ends the compile. After `close` no port is called any more."""
        if self._is_over:
            raise CompileStopped(FinishReason.FINISHED)
        try:
            return port(*arguments)
        except BaseException as error:
            with self._idle:
                self.broken = self.broken or error
            self.stop(Stop(FinishReason.FAILED, "interrupted", "The compile was interrupted."))
            raise CompileStopped(FinishReason.FAILED) from error

    @contextmanager
    def call(self, *, counted: int = 1) -> Iterator[None]:
        """A model call, or a score that may need some, is under way. Raises `CompileStopped` instead of beginning it.

        `counted` calls are taken from the budget at once, so that concurrent calls cannot overrun it together; what
        takes none asks no budget.
        """
        self.check()
        with self._idle:
            if counted and (over := self._over(counted)):
                self.stopped = self.stopped or over
            if self.stopped is not None:
                raise CompileStopped(self.stopped.reason)
            self._begun += counted
            self._under_way += 1
        try:
            yield
        finally:
            with self._idle:
                self._under_way -= 1
                self._idle.notify_all()

    def add(self, spent: Spent, *, is_new: bool, counted: int = 1) -> None:
        """Count an answer of which `counted` calls have been taken from the budget already."""
        with self._idle:
            self.spent = self.spent.plus(spent)
            self._begun += spent.calls - counted
            self.paid_now += spent.calls if is_new else 0

    def went_well(self) -> None:
        with self._idle:
            self._bad_calls_in_a_row = 0

    def went_wrong(self, code: str, message: str) -> None:
        """A model call failed. Where none succeeds any more, there is no use in going on."""
        with self._idle:
            self.failed_calls += 1
            self.last_failure = (code, message)
            self._bad_calls_in_a_row += 1
            if self._bad_calls_in_a_row >= MAX_FAILURES_IN_A_ROW:
                words = f"The language model failed {MAX_FAILURES_IN_A_ROW} times in a row: {message}"
                self.stopped = self.stopped or Stop(FinishReason.FAILED, code, words)

    def close(self) -> None:
        """Wait for the calls of threads that the optimizer has left behind; no new one begins, and no port is told."""
        with self._idle:
            self._idle.wait_for(lambda: self._under_way == 0, _WAIT_FOR_CALLS_S)
            self._is_over = True

    def _over(self, counted: int) -> Stop | None:
        limits, spent = self._limits, self.spent
        if limits.calls is not None and self._begun + counted > limits.calls:
            return Stop(FinishReason.BUDGET)
        if limits.tokens is not None and spent.usage.total >= limits.tokens:
            return Stop(FinishReason.BUDGET)
        if limits.cost is None:
            return None
        if spent.cost is None:
            return Stop(FinishReason.FAILED, "cost_unknown", "A model told no usage or has no price: cost is unknown.")
        return Stop(FinishReason.BUDGET) if limits.is_cost_reached(spent.cost) else None
