"""How much of an evaluation's budget is left, seen from one worker."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

from executions.runtime.evaluate import Spending, spent
from executions.types import Budget, FinishReason
from mlops.runtime.recorder import Recorder


class Verdict(Enum):
    """Whether another example may be started."""

    START = "start"
    WAIT = "wait"
    """What is under way may use up the rest: it is to end first."""
    SPENT = "spent"


@dataclass(frozen=True, slots=True)
class Total:
    """What all workers have stored so far. `seconds` of working time."""

    spending: Spending = field(default_factory=Spending)
    seconds: float = 0.0


@dataclass
class Allowance:
    """Counts what is stored, what waits to be stored, and what runs, as far as its models have answered.

    `expected` is what one example is thought to use, until the examples that have ended tell better. Several workers
    hear of each other when they store, so that together they overshoot by what they have under way at most.
    """

    budget: Budget
    stored: Total = field(default_factory=Total)
    expected: Spending = field(default_factory=Spending)
    _unsaved: Spending = field(default_factory=Spending)
    _ended: int = 0
    _used: Spending = field(default_factory=Spending)
    _running: set[Recorder] = field(default_factory=set)
    _since: float = field(default_factory=time.monotonic)

    def begin(self, recorder: Recorder) -> None:
        self._running.add(recorder)

    def end(self, recorder: Recorder, used: Spending, *, is_whole: bool) -> None:
        """What ran with `recorder` has ended; `is_whole` unless it was cut off."""
        self._running.discard(recorder)
        self._unsaved += used
        if is_whole:
            self._ended += 1
            self._used += used

    def saved(self, part: Spending, total: Total) -> None:
        """`part` was stored, and `total` is what all have stored now."""
        self._unsaved -= part
        self.stored = total
        self._since = time.monotonic()

    def hear(self, total: Total) -> None:
        """What all have stored, read while this worker was storing nothing."""
        self.stored = total

    @property
    def unsaved_seconds(self) -> float:
        return time.monotonic() - self._since

    def verdict(self) -> Verdict:
        if self.spent_reason() is not None:
            return Verdict.SPENT
        limits = (self.budget.calls, self.budget.tokens, self.budget.cost)
        if not self._running or all(limit is None for limit in limits):
            return Verdict.START
        at_hand = self.stored.spending + self._unsaved
        typical = self._typical()
        for running in map(spent, self._running):
            at_hand += Spending(
                max(running.calls, typical.calls), max(running.tokens, typical.tokens), max(running.cost, typical.cost)
            )
        return Verdict.WAIT if _is_reached(self.budget, at_hand) else Verdict.START

    def spent_reason(self) -> FinishReason | None:
        """Why nothing more may be started, if so."""
        seconds = self.budget.seconds
        if seconds is not None and self.stored.seconds + self.unsaved_seconds >= seconds:
            return FinishReason.DEADLINE
        used = sum(map(spent, self._running), self.stored.spending + self._unsaved)
        return FinishReason.BUDGET if _is_reached(self.budget, used) else None

    def _typical(self) -> Spending:
        if not self._ended:
            return self.expected
        used = self._used
        return Spending(used.calls // self._ended, used.tokens // self._ended, used.cost // self._ended)


def _is_reached(budget: Budget, used: Spending) -> bool:
    pairs = ((budget.calls, used.calls), (budget.tokens, used.tokens))
    is_counted_out = any(limit is not None and amount >= limit for limit, amount in pairs)
    return is_counted_out or budget.is_cost_reached(used.cost)
