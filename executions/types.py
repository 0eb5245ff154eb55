"""Executions as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from mlops.types import JobState, TokenUsage

ExecutionState = JobState
"""An execution is one kind of work among others, in the same words."""


class Mode(StrEnum):
    SYNC = "sync"
    ASYNC = "async"


class Source(StrEnum):
    """Through which edge an execution was asked for."""

    REST = "rest"
    ADMIN = "admin"
    PYTHON = "python"
    SCHEDULE = "schedule"
    GRAPHQL = "graphql"


class UsageKind(StrEnum):
    """What usage was for: serving, or improving what serves."""

    EXECUTION = "execution"
    EVALUATION = "evaluation"
    OPTIMIZATION = "optimization"


class GroupBy(StrEnum):
    """What usage can be told by."""

    DAY = "day"
    PROGRAM = "program"
    VERSION = "version"
    PROMPT_VERSION = "prompt_version"
    USER = "user"
    LANGUAGE_MODEL = "language_model"


@dataclass(frozen=True, slots=True)
class RunError:
    """Why a run failed: a code of `ModelErrorCode` or of the runtime, and words that may be shown."""

    code: str
    message: str
    module: str = ""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one run of a program gave. Cost is in pico-dollars, None when any price is unknown."""

    output: Mapping[str, Any] | None
    error: RunError | None
    trace: Mapping[str, Any]
    usage: TokenUsage
    by_model: Mapping[str, TokenUsage]
    cost: int | None
    prices: tuple[str, ...]
    models: Mapping[str, Mapping[str, Any]]
    duration_ms: float
    waited_ms: float
    flags: tuple[str, ...] = field(default=())
    known_costs: Mapping[str, int] = field(default_factory=dict)
    """Cost by model of the requests whose cost is known."""
    unpriced: frozenset[str] = frozenset()
    """The models that were asked something whose cost is not known."""

    @property
    def known_cost(self) -> int:
        """Pico-dollars: a part of the cost where that is unknown, else all of it."""
        return sum(self.known_costs.values())

    @property
    def token_usage(self) -> dict[str, Any]:
        by_model = {name: {**usage.as_json(), **self._cost_of(name)} for name, usage in self.by_model.items()}
        return {**self.usage.as_json(), "by_model": by_model}

    def _cost_of(self, model: str) -> dict[str, int | None]:
        known = self.known_costs.get(model, 0)
        return {"cost": None, "known_cost": known} if model in self.unpriced else {"cost": known}


@dataclass(frozen=True, slots=True)
class Step:
    """A module of an execution that is read while it runs has begun or ended."""

    module: str
    state: Literal["started", "completed"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of an output field, as it comes. All pieces of a field are together its text as the language model gave
    it, without margins and before it is parsed."""

    module: str
    field: str
    text: str


class MetricKind(StrEnum):
    """Ways to score an answer; see docs/metrics.md."""

    EXACT_MATCH = "exact_match"
    NORMALISED_MATCH = "normalised_match"
    CONTAINS = "contains"
    NUMERIC_EQUALITY = "numeric_equality"
    TOKEN_F1 = "token_f1"  # noqa: S105  # no password
    SET_F1 = "set_f1"
    JSON_FIELD_MATCH = "json_field_match"
    SEMANTIC_SIMILARITY = "semantic_similarity"
    JUDGE = "judge"
    CODE = "code"


class FinishReason(StrEnum):
    """Why an evaluation or an optimization ended; only `finished` means that it did all that it was asked to."""

    FINISHED = "finished"
    BUDGET = "budget"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Budget:
    """What work may use at most; None is no limit, 0 is one. `cost` in pico-dollars, `seconds` of working time."""

    cost: int | None = None
    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Budget:
        return cls(**{name: value.get(name) for name in ("cost", "calls", "tokens", "seconds")})

    def is_cost_reached(self, cost: int) -> bool:
        """Whether `cost` uses up the limit. One of 0 is reached by the first cost: what is free goes on."""
        return self.cost is not None and cost >= max(self.cost, 1)

    def as_json(self) -> dict[str, Any]:
        """Without the limits that are none."""
        limits = {"cost": self.cost, "calls": self.calls, "tokens": self.tokens, "seconds": self.seconds}
        return {name: limit for name, limit in limits.items() if limit is not None}
