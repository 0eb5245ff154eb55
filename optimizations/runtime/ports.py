"""What a compile gets from outside, as plain callables. They are called from DSPy's own threads, so they may block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from executions.runtime.run import LanguageModelOf
from optimizations.types import CandidateFound, CompileProgress, FinishReason

Score = Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[float, str]]
"""(data of the example, output of the program) -> (value within the metric's range, feedback). May raise anything.

It is called within a recorder of its own, so that what it uses beside guarded models is metered with the rest of the
job; an answer that was paid for so is kept in the memo.
"""


@dataclass(frozen=True, slots=True)
class CompileMetric:
    """How a compile scores: `low` and `high` are the range of `score`'s values.

    Optimizers see values scaled to 0..1. What fails to be scored counts as the bottom of the range.
    """

    score: Score
    low: float = 0.0
    high: float = 1.0

    def scaled(self, value: float) -> float:
        """`value` between 0 (bottom of the range, and anything below) and 1 (its top)."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


MetricOf = Callable[[LanguageModelOf], CompileMetric]
"""Makes the metric of a compile. A judge has to take its language models from what it is given: those are under guard,
so that each call of the judge is counted, stopped and remembered like one of the program."""


def _no_answer(request_hash: str, occurrence: int) -> Mapping[str, Any] | None:
    return None


def _forget(request_hash: str, occurrence: int, stored: Mapping[str, Any]) -> None:
    pass


def _go_on() -> FinishReason | None:
    return None


def _unheard(told: Any) -> None:
    pass


@dataclass(frozen=True, slots=True)
class CompilePorts:
    """The world of a compile; by default nothing is remembered and nobody listens.

    `memo_get` and `memo_put` keep answers by (request hash, occurrence counted from 0); what is stored is JSON that any
    database keeps, with usage and cost in it. `should_stop` is asked before every call. An exception that a port raises
    ends the compile and is what `run_optimizer` raises.
    """

    memo_get: Callable[[str, int], Mapping[str, Any] | None] = _no_answer
    memo_put: Callable[[str, int, Mapping[str, Any]], None] = _forget
    should_stop: Callable[[], FinishReason | None] = _go_on
    on_candidate: Callable[[CandidateFound], None] = _unheard
    on_progress: Callable[[CompileProgress], None] = _unheard
