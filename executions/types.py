"""Executions as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mlops.types import TokenUsage


class ExecutionState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATES = frozenset({ExecutionState.COMPLETED, ExecutionState.FAILED, ExecutionState.CANCELLED})


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

    @property
    def token_usage(self) -> dict[str, Any]:
        by_model = {name: usage.as_json() for name, usage in self.by_model.items()}
        return {**self.usage.as_json(), "by_model": by_model}
