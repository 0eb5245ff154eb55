"""Metrics and scores as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from executions.types import MetricKind


@dataclass(frozen=True, slots=True)
class Range:
    """Between which numbers the scores of a metric lie, both included; higher is better."""

    low: float = 0.0
    high: float = 1.0

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


UNIT = Range()


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric version. `judge` (a program reference such as `rating@3`) and `language_model` (a name) only say what
    the ports bring."""

    name: str
    kind: MetricKind
    config: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    judge: str = ""
    language_model: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """What a metric says of one output: a finite number inside the metric's range, and why.

    `feedback` names what was expected and what came: people read it, and optimizers that reflect learn from it.
    """

    value: float
    feedback: str
