"""Metrics that settings register by name. Rows only ever hold the name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from executions.runtime.metrics.values import Range
from programs.runtime.tools import NotRegistrable, imported

Function = TypeVar("Function", bound=Callable[..., Any])

SECONDS = 60.0
"""How long registered code may take for one score unless it says otherwise."""

_DECLARATION = "signet_metric"


@dataclass(frozen=True, slots=True)
class RegisteredMetric:
    """A function that scores: `function(example, output, **arguments)` gives a `Score`, a number or a truth value,
    within `seconds`."""

    name: str
    path: str
    description: str
    range: Range
    function: Callable[..., Any]
    seconds: float = SECONDS

    def problem_of(self, arguments: Mapping[str, Any]) -> str:
        """Why the function cannot be called with `arguments`; empty when it can."""
        try:
            inspect.signature(self.function).bind({}, {}, **arguments)
        except TypeError as error:
            return f"{self.name}: {error}."
        return ""


@dataclass(frozen=True, slots=True)
class _Declaration:
    description: str
    range: Range
    seconds: float


def metric(
    *, description: str, low: float = 0.0, high: float = 1.0, seconds: float = SECONDS
) -> Callable[[Function], Function]:
    """Declare a function as a metric whose scores lie between `low` and `high`, higher being better.

    It has `seconds` for a score; then the item has an error, and nobody waits for it any longer.

    It is called with the example's data and the program's output, both as mappings, and with the metric's `arguments`;
    from several threads at once. It gives a `Score`, or a number or truth value, for which feedback is written. It may
    raise `MetricFailed` with words that people are shown; of any other exception only the type is told.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("The range of a metric goes from a number to a higher one.")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError("A metric has some seconds for a score.")

    def declared(function: Function) -> Function:
        setattr(function, _DECLARATION, _Declaration(description, Range(low, high), seconds))
        return function

    return declared


def load_metrics(registered: Mapping[str, str]) -> dict[str, RegisteredMetric]:
    """Metrics by name from `{"name": "package.module:function"}`. Raises `NotRegistrable`."""
    return {name: _metric_at(name, path) for name, path in registered.items()}


def _metric_at(name: str, path: str) -> RegisteredMetric:
    function = imported(name, path)
    declaration = getattr(function, _DECLARATION, None)
    if not isinstance(declaration, _Declaration):
        raise NotRegistrable(f"{name}: {path} is not declared with @metric.")
    if inspect.iscoroutinefunction(function):
        raise NotRegistrable(f"{name}: {path} is asynchronous; a metric is a plain function.")
    return RegisteredMetric(name, path, declaration.description, declaration.range, function, declaration.seconds)
