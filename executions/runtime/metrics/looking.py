"""Finding values in examples and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executions.runtime.metrics.failures import MetricFailed

_MISSING = object()


def expected_in(example: Mapping[str, Any], path: str, *, null_counts: bool = False) -> Any:
    """What the example expects at `path`. Raises `MetricFailed` when it says nothing there."""
    value = _at(example, path)
    if value is _MISSING:
        raise MetricFailed(f"The example has no field {path!r}; it has {_names(example)}.")
    if value is None and not null_counts:
        raise MetricFailed(f"The example has no value in {path!r}.")
    return value


def given_in(output: Mapping[str, Any], path: str) -> Any:
    """What the program gave at `path`, None when it left the field empty.

    Raises `MetricFailed` when the program has no such output; within an object a missing member counts as empty.
    """
    value = _at(output, path)
    if value is not _MISSING:
        return value
    if path.partition(".")[0] not in output:
        raise MetricFailed(f"The output has no field {path!r}; it has {_names(output)}.")
    return None


def _at(values: Mapping[str, Any], path: str) -> Any:
    if path in values:
        return values[path]
    found: Any = values
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return _MISSING
        found = found[name]
    return found


def _names(values: Mapping[str, Any]) -> str:
    names = ", ".join(sorted(map(str, values))[:20])
    return names[:300] or "none"
