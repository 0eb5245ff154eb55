"""One budget for all that a job does: judge what it begins with, search, judge what it found."""

from __future__ import annotations

import math
from dataclasses import dataclass

from executions.models import Evaluation
from optimizations.models import Optimization
from optimizations.types import Budget

MORE = 1.5
"""Tokens, cost and time of the last judgement over those of the first: its prompts are longer."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a part of the job has used. Cost in pico-dollars, as far as it is known."""

    cost: int = 0
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.cost + other.cost,
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
        )


def used_by_evaluation(evaluation: Evaluation) -> Used:
    return Used(evaluation.cost, evaluation.calls, evaluation.total_tokens, evaluation.seconds)


def used_by_search(job: Optimization) -> Used:
    return Used(job.cost or 0, job.calls, job.total_tokens, job.seconds)


def set_aside(baseline: Evaluation) -> Used:
    """What the last judgement may need: as many calls as that of the baseline, each with a longer prompt."""
    used = used_by_evaluation(baseline)
    return Used(
        cost=math.ceil(used.cost * MORE),
        calls=used.calls,
        tokens=math.ceil(used.tokens * MORE),
        seconds=used.seconds * MORE,
    )


def left_of(budget: Budget, used: Used) -> Budget:
    """What remains; a limit that is used up is 0, one that there is not stays none."""
    return Budget(
        cost=None if budget.cost is None else max(budget.cost - used.cost, 0),
        calls=None if budget.calls is None else max(budget.calls - used.calls, 0),
        tokens=None if budget.tokens is None else max(budget.tokens - used.tokens, 0),
        seconds=None if budget.seconds is None else max(budget.seconds - used.seconds, 0.0),
    )
