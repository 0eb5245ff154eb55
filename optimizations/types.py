"""Compile jobs as values: what may be asked for, and what comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from executions.types import Budget, FinishReason
from mlops.types import TokenUsage
from programs.types import EXAMPLE_MARK, PromptSpec

__all__ = [
    "EXAMPLE_MARK",
    "Budget",
    "CandidateFound",
    "CandidateState",
    "CompileProgress",
    "CompileResult",
    "FinishReason",
    "OptimizerName",
    "ScoredOn",
]


RUNTIME_VERSION = 1
"""Moves when a compile would go another way than before: workers leave jobs of newer code alone."""


class OptimizerName(StrEnum):
    LABELED_FEW_SHOT = "labeled_few_shot"
    BOOTSTRAP_FEW_SHOT = "bootstrap_few_shot"
    BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH = "bootstrap_few_shot_with_random_search"
    COPRO = "copro"
    MIPRO_V2 = "mipro_v2"
    SIMBA = "simba"
    GEPA = "gepa"


@dataclass(frozen=True, slots=True)
class CandidateState:
    """What a candidate changes: instructions and demos of each predicting module, by the module's key."""

    prompts: Mapping[str, PromptSpec]

    def as_json(self) -> dict[str, Any]:
        """`{module: {"instructions": ..., "demos": [...]}}`; demos name their example under `EXAMPLE_MARK`."""
        return {
            key: {"instructions": prompt.instructions, "demos": [dict(demo) for demo in prompt.demos]}
            for key, prompt in self.prompts.items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CandidateState:
        """The state that `as_json` gave."""
        return cls({key: PromptSpec(item["instructions"], tuple(item["demos"])) for key, item in stored.items()})

    def digest(self) -> str:
        """SHA-256 of the content: the same prompts have the same digest, wherever their demos came from."""
        content = {
            key: [prompt.instructions, [{k: v for k, v in demo.items() if k != EXAMPLE_MARK} for demo in prompt.demos]]
            for key, prompt in self.prompts.items()
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class ScoredOn(StrEnum):
    """On which examples an optimizer scored a candidate."""

    TRAINING = "training"
    VALIDATION = "validation"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class CandidateFound:
    """A state that the optimizer tried, and what it took since the candidate before.

    `score` is the mean over `n` examples of the metric, scaled so that the bottom of its range is 0 and the top 1; None
    where the optimizer scores nothing. `is_partial` says that it saw only a part of the set. The same state found again
    is a further candidate with the same `digest`.
    """

    number: int
    label: str
    state: CandidateState
    digest: str
    score: float | None
    n: int
    scored_on: ScoredOn
    is_partial: bool
    calls: int
    usage: TokenUsage
    cost: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class CompileProgress:
    """Where a compile stands.

    `done` of at most `total` outputs have been scored; `candidates` of about `candidates_total` were found (None:
    nobody can know). `seconds_left` is an estimate from the pace so far.
    """

    phase: str
    done: int
    total: int
    candidates: int
    candidates_total: int | None
    best_score: float | None
    calls: int
    tokens: int
    cost: int | None
    seconds: float
    seconds_left: float | None

    def as_json(self) -> dict[str, Any]:
        """As job rows keep it."""
        return {
            "phase": self.phase,
            "done": self.done,
            "total": self.total,
            "candidates": self.candidates,
            "candidates_total": self.candidates_total,
            "best_score": self.best_score,
            "calls": self.calls,
            "tokens": self.tokens,
            "cost": self.cost,
            "seconds": round(self.seconds, 3),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
        }


@dataclass(frozen=True, slots=True)
class CompileResult:
    """How a compile ended.

    `best` is what the optimizer returned when it finished, else the best candidate so far. Usage, calls and cost are
    those of the whole job, with what earlier runs of it have paid for (`paid_now`: calls that this run made). `cost` is
    None once any price is unknown.
    """

    finish_reason: FinishReason
    best: CandidateFound | None
    candidates: int
    calls: int
    paid_now: int
    usage: TokenUsage
    by_model: Mapping[str, TokenUsage]
    cost: int | None
    seconds: float
    metric_calls: int
    metric_failures: int
    failed_calls: int
    error_code: str = ""
    error: str = ""
    warnings: tuple[str, ...] = field(default=())
