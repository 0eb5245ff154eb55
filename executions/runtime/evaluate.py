"""One example of an evaluation: the program is run on its inputs, and what it answered is scored.

A program or a metric that fails leaves a gap, never a 0: the item then has an error, and no score of what failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from executions.runtime.failures import error_of
from executions.runtime.metrics import MetricFailed, Scorer
from executions.runtime.metrics.failures import CODE as METRIC_FAILED
from executions.runtime.run import LanguageModelOf, partial_result, run
from executions.types import RunError, RunResult
from mlops.errors import Invalid
from mlops.runtime.engines import language_model
from mlops.runtime.recorder import Recorder, recording
from mlops.sanitiser import hide
from mlops.types import LanguageModelSpec, SpanKind
from programs.runtime.built import BuiltProgram
from programs.types import Capture

CALLS = frozenset({SpanKind.LLM, SpanKind.EMBEDDING})
NOT_KEPT = {"spans": [], "dropped": 0, "captured": False}


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is evaluated, built and ready: shared by all examples. `scorers` are by name of the metric."""

    program: BuiltProgram
    models: Mapping[str, LanguageModelSpec]
    deadline_s: float
    scorers: Mapping[str, Scorer]
    capture: Capture = Capture.ALL
    language_model_of: LanguageModelOf = language_model

    def input_of(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The part of an example that is the program's input. Raises `Invalid` with what does not fit."""
        names = (item.name for item in self.program.inputs.fields)
        return self.program.inputs.validate({name: data[name] for name in names if name in data})


@dataclass(frozen=True, slots=True)
class Spending:
    """What was used. `cost` in pico-dollars of what has a price; `unpriced` counts what has none."""

    calls: int = 0
    tokens: int = 0
    cost: int = 0
    unpriced: int = 0

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.unpriced + other.unpriced,
        )

    def __sub__(self, other: Spending) -> Spending:
        return Spending(
            self.calls - other.calls,
            self.tokens - other.tokens,
            self.cost - other.cost,
            self.unpriced - other.unpriced,
        )


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What one example gave. `duration_ms` is the program's alone; usage and cost are those of its metrics too."""

    output: Mapping[str, Any] | None
    scores: Mapping[str, float]
    feedback: Mapping[str, str]
    error: RunError | None
    spent: Spending
    cost: int | None
    token_usage: Mapping[str, Any]
    duration_ms: float | None
    trace: Mapping[str, Any] | None


@dataclass(slots=True)
class _Scored:
    scores: dict[str, float] = field(default_factory=dict)
    feedback: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


async def evaluate_example(subject: Subject, data: Mapping[str, Any], recorder: Recorder) -> ItemResult:
    """Run and score one example; what goes wrong is in the result's error.

    Raises only what ends the task (CancelledError): what was used until then is in `recorder`.
    """
    try:
        values = subject.input_of(data)
    except Invalid as refusal:
        return failed(error_of(refusal))
    result = await run(
        subject.program,
        values,
        models=subject.models,
        deadline_s=subject.deadline_s,
        recorder=recorder,
        language_model_of=subject.language_model_of,
    )
    if result.error is not None or result.output is None:
        return _item(subject, recorder, result, result, _Scored())
    steps = len(recorder.spans) + recorder.dropped
    with recording(recorder):
        scored = await _scored(subject.scorers, data, result.output)
    is_asked = len(recorder.spans) + recorder.dropped > steps
    whole = partial_result(recorder, RunError(METRIC_FAILED, "")) if is_asked else result
    return _item(subject, recorder, result, whole, scored)


def failed(error: RunError) -> ItemResult:
    """The result of an example that used nothing."""
    return ItemResult(None, {}, {}, error, Spending(), 0, {}, None, None)


def spent(recorder: Recorder) -> Spending:
    """What a run has used so far, or in all."""
    return Spending(
        calls=sum(step.kind in CALLS for step in recorder.spans),
        tokens=recorder.usage.total,
        cost=recorder.known_cost,
        unpriced=int(recorder.cost is None),
    )


async def _scored(scorers: Mapping[str, Scorer], data: Mapping[str, Any], output: Mapping[str, Any]) -> _Scored:
    done = _Scored()
    for name, scorer in scorers.items():
        try:
            score = await scorer.ascore(data, output)
        except MetricFailed as failure:
            done.failures.append(str(failure))
            continue
        done.scores[name], done.feedback[name] = score.value, score.feedback
    return done


def _item(subject: Subject, recorder: Recorder, result: RunResult, whole: RunResult, scored: _Scored) -> ItemResult:
    """`result` is the program's, `whole` that of the program and of the metrics that asked models."""
    error = result.error
    if scored.failures:
        error = RunError(METRIC_FAILED, _hidden(" ".join(scored.failures), recorder.repeated_secrets))
    is_kept = subject.capture is Capture.ALL or (subject.capture is Capture.ERRORS and error is not None)
    return ItemResult(
        output=result.output if is_kept else None,
        scores=scored.scores,
        feedback=_hidden(scored.feedback, recorder.repeated_secrets) if is_kept else {},
        error=error,
        spent=spent(recorder),
        cost=whole.cost,
        token_usage=_usage(result, whole),
        duration_ms=result.duration_ms,
        trace=whole.trace if is_kept else NOT_KEPT,
    )


def _usage(result: RunResult, whole: RunResult) -> dict[str, Any]:
    """Tokens as executions tell them, of all; what the metrics had of them stands beside."""
    if whole is result:
        return result.token_usage
    of_metrics = {"total": whole.usage.total - result.usage.total, "cost": None}
    if whole.cost is not None and result.cost is not None:
        of_metrics["cost"] = whole.cost - result.cost
    return {**whole.token_usage, "metrics": of_metrics}


def _hidden(value: Any, secrets: Iterable[str]) -> Any:
    known = tuple(secrets)
    return hide(value, known) if known else value
