"""From a metric as a value to one that scores; whatever it says is finite and inside its range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from executions.runtime.metrics.asking import Judged, Registered, SemanticSimilarity, source_of
from executions.runtime.metrics.base import Scorer
from executions.runtime.metrics.configs import CodeConfig, JudgeConfig, SimilarityConfig, problems_of_config
from executions.runtime.metrics.failures import MetricFailed
from executions.runtime.metrics.matching import matching
from executions.runtime.metrics.ports import Judge, MetricPorts
from executions.runtime.metrics.values import MetricSpec, Score
from executions.types import MetricKind
from mlops.errors import Problem, all_of
from mlops.sanitiser import replace_unstorable

__all__ = ["Scorer", "problems_of_metric", "scorer"]

MAX_WORDS = 10_000
"""Characters of feedback that are kept of one score, or of one failure."""


def scorer(spec: MetricSpec, ports: MetricPorts) -> Scorer:
    """The metric, ready to score. Raises `Invalid` (`metric_invalid`) with every problem at once."""
    if problems := problems_of_metric(spec, ports):
        raise all_of(problems, code="metric_invalid", message="The metric cannot be used.")
    return _Checked(spec.name, _made(spec, ports))


def problems_of_metric(spec: MetricSpec, ports: MetricPorts) -> tuple[Problem, ...]:
    """Everything that is wrong with a metric, what it needs from outside included."""
    if problems := problems_of_config(spec.kind, spec.config):
        return problems
    if spec.kind is MetricKind.JUDGE:
        return _problems_of_judge(JudgeConfig.model_validate(spec.config), ports.judge)
    if spec.kind is MetricKind.CODE:
        return _problems_of_code(CodeConfig.model_validate(spec.config), ports)
    if spec.kind is MetricKind.SEMANTIC_SIMILARITY and ports.embedder is None:
        return (Problem("required", "An embedding model is needed.", "language_model"),)
    return ()


class _Checked(Scorer):
    """Every score passes here: a metric that answers nonsense has failed."""

    def __init__(self, name: str, inner: Scorer) -> None:
        self.range = inner.range
        self._name = name
        self._inner = inner

    @property
    def expected_field(self) -> str | None:
        return self._inner.expected_field

    def expectation(self, example: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return self._inner.expectation(example)

    def answers(self, expectation: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        return self._inner.answers(expectation)

    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        with self._failing():
            return self._sound(self._inner.score(example, output))

    async def ascore(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        with self._failing():
            return self._sound(await self._inner.ascore(example, output))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Whatever goes wrong inside is a failure of the metric; what stops a job (`BaseException`) passes."""
        try:
            yield
        except MetricFailed as failure:
            raise MetricFailed(_kept(str(failure))) from failure
        except Exception as error:
            raise MetricFailed(f"The metric {self._name!r} raised {type(error).__name__}.") from error

    def _sound(self, score: Score) -> Score:
        if not math.isfinite(score.value):
            raise MetricFailed(f"The metric {self._name!r} gave {score.value}, which is no score.")
        if score.value not in self.range:
            raise MetricFailed(
                f"The metric {self._name!r} gave {score.value:g}, outside of its range from {self.range}."
            )
        return Score(score.value, _kept(score.feedback))


def _kept(words: str) -> str:
    """What is kept of a metric's words."""
    storable, _replaced = replace_unstorable(words[:MAX_WORDS])
    return str(storable)


def _made(spec: MetricSpec, ports: MetricPorts) -> Scorer:
    match spec.kind:
        case MetricKind.SEMANTIC_SIMILARITY:
            assert ports.embedder is not None
            return SemanticSimilarity(SimilarityConfig.model_validate(spec.config), ports.embedder)
        case MetricKind.JUDGE:
            assert ports.judge is not None
            return Judged(JudgeConfig.model_validate(spec.config), ports.judge)
        case MetricKind.CODE:
            code = CodeConfig.model_validate(spec.config)
            return Registered(code, ports.functions[code.function])
        case _:
            return matching(spec.kind, spec.config)


def _problems_of_judge(config: JudgeConfig, judge: Judge | None) -> tuple[Problem, ...]:
    if judge is None:
        return (Problem("required", "A judge program is needed.", "judge_program"),)
    inputs, outputs = {item.name for item in judge.inputs}, {item.name for item in judge.outputs}
    found = [
        Problem("unknown_input", f"The judge has no input {name!r}.", f"config.inputs.{name}")
        for name in config.inputs
        if name not in inputs
    ]
    found += [
        Problem("unknown_source", _SOURCES, f"config.inputs.{name}")
        for name, source in config.inputs.items()
        if not _is_source(source)
    ]
    if config.score not in outputs:
        found.append(Problem("unknown_output", f"The judge has no output {config.score!r}.", "config.score"))
    if config.feedback is not None and config.feedback not in outputs:
        found.append(Problem("unknown_output", f"The judge has no output {config.feedback!r}.", "config.feedback"))
    sources = {source_of(item, config) for item in judge.inputs if item.required}
    if "expected" in sources and config.expected is None:
        found.append(Problem("required", "Name the field of the example that is expected.", "config.expected"))
    if "rubric" in sources and not config.rubric.strip():
        found.append(Problem("required", "The judge asks for a rubric.", "config.rubric"))
    return tuple(found)


_SOURCES = "One of rubric, example, output, expected, example.<field> and output.<field>."


def _is_source(source: str) -> bool:
    kind, dot, path = source.partition(".")
    return kind in ("example", "output") and bool(path) if dot else kind in ("rubric", "example", "output", "expected")


def _problems_of_code(config: CodeConfig, ports: MetricPorts) -> tuple[Problem, ...]:
    metric = ports.functions.get(config.function)
    if metric is None:
        return (Problem("unknown_metric", f"No metric {config.function!r} is registered.", "config.function"),)
    if problem := metric.problem_of(config.arguments):
        return (Problem("invalid_value", problem, "config.arguments"),)
    return ()
