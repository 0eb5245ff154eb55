"""The metric as optimizers call it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import dspy

from mlops.runtime.recorder import Recorder, recording
from optimizations.runtime.guard import MAX_FAILURES_IN_A_ROW, Guard, Stop
from optimizations.runtime.memo import Memo, hash_of, spent_from, spent_of, storable, stored_spent
from optimizations.runtime.ports import CompileMetric
from optimizations.types import FinishReason
from programs.runtime.checks import as_plain

_NO_OUTPUT = "The program gave no output."
_MAX_MESSAGE = 300


class Scoring:
    """Scores from 0 to 1. The same output of the same example is scored once per compile, whoever asks again.

    What cannot be scored counts as the bottom of the range, and is counted.
    """

    def __init__(self, metric: CompileMetric, guard: Guard, memo: Memo) -> None:
        self.calls = 0
        self.failures = 0
        self.last_failure = ""
        self.asked = 0
        self.listeners: list[Callable[[float], None]] = []
        """Told of every score, in the thread of the run that it is for."""
        self._metric, self._guard, self._memo = metric, guard, memo
        self._known: dict[str, tuple[float, str]] = {}
        self._asking: dict[str, threading.Lock] = {}
        self._failures_in_a_row = 0
        self._is_paid = False
        self._lock = threading.Lock()

    def value(self, example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        """The score, for optimizers that want a number."""
        return self._scored(example, prediction)[0]

    def with_feedback(
        self, example: dspy.Example, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> dspy.Prediction:
        """The score and what the metric says of it, for optimizers that reflect.

        Asked again for the feedback to one predictor of a run, it is no further score.
        """
        score, feedback = self._scored(example, prediction, is_run=pred_name is None)
        return dspy.Prediction(score=score, feedback=feedback or f"The score is {score:g}.")

    def _scored(self, example: dspy.Example, prediction: Any, *, is_run: bool = True) -> tuple[float, str]:
        self._guard.check()
        output = _output_of(prediction)
        if output is None:
            found = (0.0, _NO_OUTPUT)
        else:
            data = example.toDict()
            found = self._once(hash_of({"metric": data, "output": output}), data, output)
        if is_run:
            with self._lock:
                self.calls += 1
            for listener in self.listeners:
                listener(found[0])
        return found

    def _once(self, key: str, data: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[float, str]:
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:
            if key not in self._known:
                self._known[key] = self._asked(key, data, output)
            return self._known[key]

    def _asked(self, key: str, data: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[float, str]:
        """The metric's word, from the memo where a judge was paid for it."""
        name = (key, 0)
        counted = int(self._is_paid)  # what costs nothing may score the last answer that the budget allowed
        with self._guard.call(counted=counted):
            stored = self._memo.get(name)
            is_new = stored is None
            if stored is None:
                recorder = Recorder()
                with recording(recorder):
                    told = self._told(data, output)
                stored = storable({**told, **stored_spent(spent_of(recorder))}, recorder)
            spent = spent_from(stored)
            self._is_paid = self._is_paid or bool(spent.by_model)
            self._guard.add(spent, is_new=is_new, counted=counted)
            if is_new and spent.by_model:
                self._memo.put(name, stored)
        self._count_failures(stored.get("failure"))
        return stored["score"], stored["feedback"]

    def _told(self, data: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
        try:
            value, feedback = self._metric.score(data, output)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise TypeError(f"a score is a finite number, not {value!r}")
            return {"score": self._metric.scaled(value), "feedback": feedback}
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_MESSAGE]
            return {"score": 0.0, "feedback": "The output could not be scored.", "failure": message}

    def _count_failures(self, failure: str | None) -> None:
        with self._lock:
            self.asked += 1
            self._failures_in_a_row = self._failures_in_a_row + 1 if failure else 0
            if not failure:
                return
            self.failures += 1
            self.last_failure = failure
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                words = f"The metric failed {MAX_FAILURES_IN_A_ROW} times in a row: {failure}"
                self._guard.stop(Stop(FinishReason.FAILED, "metric_failed", words))


def _output_of(prediction: Any) -> dict[str, Any] | None:
    """The program's output, or None when the run failed."""
    if not isinstance(prediction, dspy.Prediction) or not prediction.toDict():
        return None
    output: dict[str, Any] = as_plain(prediction.toDict())
    return output
