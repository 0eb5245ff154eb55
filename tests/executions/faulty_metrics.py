"""Registered metrics that fail, each in its own way."""

from __future__ import annotations

import threading
from typing import Any

from executions.runtime.metrics import MetricFailed, metric


@metric(description="Raises.")
def raises(example: Any, output: Any) -> float:
    raise KeyError("secret")


@metric(description="Says nothing.")
def says_nothing(example: Any, output: Any) -> Any:
    return None


@metric(description="Says a word.")
def says_a_word(example: Any, output: Any) -> Any:
    return "good"


@metric(description="Says no number.")
def says_nan(example: Any, output: Any) -> float:
    return float("nan")


@metric(description="Fails in words that no database keeps.")
def fails_unstorably(example: Any, output: Any) -> float:
    raise MetricFailed("no\x00 score\ud800" + "." * 20_000)


@metric(description="Never comes back in time.", seconds=0.05)
def hangs(example: Any, output: Any) -> float:
    threading.Event().wait(5)
    return 1.0
