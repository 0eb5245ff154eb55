"""Metrics that ask: an embedding model, a judge, registered code."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from executions.runtime.failures import error_of
from executions.runtime.metrics.base import Scorer
from executions.runtime.metrics.bounded import BoundedCalls, Overdue
from executions.runtime.metrics.configs import CodeConfig, JudgeConfig, SimilarityConfig
from executions.runtime.metrics.failures import MetricFailed
from executions.runtime.metrics.looking import expected_in, given_in
from executions.runtime.metrics.matching import at_threshold
from executions.runtime.metrics.ports import Embedder, Judge, Vector
from executions.runtime.metrics.registered import RegisteredMetric
from executions.runtime.metrics.texts import shown, text_of
from executions.runtime.metrics.values import UNIT, Score
from programs.types import FieldSpec, FieldType

FEEDBACK_FIELDS = ("feedback", "reasoning")
"""Outputs of a judge that say why, best first."""


class SemanticSimilarity(Scorer):
    """The cosine of the vectors of expected and given text. Negative ones count as 0: opposite is as wrong as
    unrelated."""

    range = UNIT

    def __init__(self, config: SimilarityConfig, embedder: Embedder) -> None:
        self.config = config
        self._embedder = embedder

    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        texts = self._texts(example, output)
        return self._scored(texts, _embedded(self._embedder, texts) if texts[1].strip() else None)

    async def ascore(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        texts = self._texts(example, output)
        return self._scored(texts, await _aembedded(self._embedder, texts) if texts[1].strip() else None)

    def _texts(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> list[str]:
        expected = text_of(expected_in(example, self.config.expected_field))
        if not expected.strip():
            raise MetricFailed(f"The example has an empty text in {self.config.expected_field!r}.")
        given = given_in(output, self.config.field)
        return [expected, "" if given is None else text_of(given)]

    def _scored(self, texts: list[str], vectors: Sequence[Vector] | None) -> Score:
        """An empty answer means nothing, so it is similar to nothing: no model is asked."""
        if vectors is None:
            return Score(0.0, f"Expected {self.config.field} like {shown(texts[0])}, got nothing.")
        value = max(0.0, min(1.0, _cosine(*vectors)))
        passed = at_threshold(value, self.config.threshold)
        said = f"Expected {self.config.field} like {shown(texts[0])}, got {shown(texts[1])}: similarity {value:.2f}"
        wanted = "" if self.config.threshold is None else f", at least {self.config.threshold:g} is asked for"
        return Score(passed, f"{said}{wanted}.")


class Judged(Scorer):
    """What a judge program says: a number on its scale, a truth value or a label, mapped onto 0 to 1."""

    range = UNIT

    def __init__(self, config: JudgeConfig, judge: Judge) -> None:
        self.config = config
        self._judge = judge
        self._sources = [(item, source_of(item, config)) for item in judge.inputs]
        self._labels = {label.strip().casefold(): value for label, value in config.labels.items()}

    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        return self._scored(self._judge.ask(self._values(example, output)))

    async def ascore(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        return self._scored(await self._judge.aask(self._values(example, output)))

    def _values(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
        """The judge's inputs. One that is not required and finds nothing is left out."""
        found: dict[str, Any] = {}
        for item, source in self._sources:
            try:
                value = self._value(source, example, output)
            except MetricFailed:
                if item.required and not item.has_default:
                    raise
                continue
            found[item.name] = text_of(value) if item.type is FieldType.STRING and not item.is_list else value
        return found

    def _value(self, source: str, example: Mapping[str, Any], output: Mapping[str, Any]) -> Any:
        kind, _dot, path = source.partition(".")
        if kind == "rubric":
            return self.config.rubric
        if kind == "expected":
            return expected_in(example, self.config.expected or "")
        if kind == "output":
            path = path or self.config.field or ""
            return given_in(output, path) if path else dict(output)
        return expected_in(example, path) if path else dict(example)

    def _scored(self, answer: Mapping[str, Any]) -> Score:
        given = answer.get(self.config.score)
        value = self._unit(given)
        low, high = self.config.scale
        on_scale = "" if isinstance(given, bool) or self._labels else f" on a scale from {low:g} to {high:g}"
        said = [f"The judge gave {shown(given)}{on_scale}."]
        names = FEEDBACK_FIELDS if self.config.feedback is None else (self.config.feedback,)
        reasons = (text_of(answer[name]).strip() for name in names if answer.get(name) not in (None, ""))
        said.extend(reason for reason in [next(reasons, "")] if reason)
        return Score(at_threshold(value, self.config.threshold), " ".join(said))

    def _unit(self, given: Any) -> float:
        """The judge's word as a number from 0 to 1. Raises `MetricFailed` for what is none."""
        if isinstance(given, str) and self._labels:
            if given.strip().casefold() not in self._labels:
                raise MetricFailed(f"The judge gave {shown(given)}, which is none of its labels.")
            return self._labels[given.strip().casefold()]
        if isinstance(given, bool):
            return float(given)
        number = _number(given)
        if number is None:
            raise MetricFailed(f"The judge gave {shown(given)} in {self.config.score!r}, which is no score.")
        low, high = self.config.scale
        if not low <= number <= high:
            raise MetricFailed(f"The judge gave {number:g}, outside of its scale from {low:g} to {high:g}.")
        return (number - low) / (high - low)


class Registered(Scorer):
    """What registered code says. It runs in a thread of its own, since it may block, and has a deadline."""

    def __init__(self, config: CodeConfig, metric: RegisteredMetric) -> None:
        self.config = config
        self.range = metric.range
        self._metric = metric
        self._calls: BoundedCalls[Score] = BoundedCalls(metric.seconds)

    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        with self._in_time():
            return self._calls.call(partial(self._said, example, output))

    async def ascore(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        with self._in_time():
            return await self._calls.acall(partial(self._said, example, output))

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            yield
        except Overdue as overdue:
            raise MetricFailed(f"The metric {self._metric.name!r} {overdue}.") from None

    def _said(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        name = self._metric.name
        try:
            said = self._metric.function(dict(example), dict(output), **self.config.arguments)
        except MetricFailed:
            raise
        except Exception as error:
            raise MetricFailed(f"The metric {name!r} raised {type(error).__name__}{_place(error)}.") from error
        score = said if isinstance(said, Score) else Score(self._value(said), "")
        words = score.feedback if isinstance(score.feedback, str) and score.feedback.strip() else ""
        if not words:
            words = f"{name} gave {score.value} for {shown(dict(output))}; the example is {shown(dict(example))}."
        return Score(self._value(score.value), words)

    def _value(self, said: Any) -> float:
        if isinstance(said, bool | int | float):
            return float(said)
        if said is None:
            raise MetricFailed(f"The metric {self._metric.name!r} gave no score.")
        number = _as_float(said)
        if number is None:
            kind = type(said).__name__
            raise MetricFailed(f"The metric {self._metric.name!r} gave a value of type {kind}, which is no score.")
        return number


def source_of(item: FieldSpec, config: JudgeConfig) -> str:
    """Where an input of the judge comes from: as the config says, else by its name."""
    if item.name in config.inputs:
        return config.inputs[item.name]
    known = item.name in ("rubric", "example", "output", "expected")
    return item.name if known else f"example.{item.name}"


def _embedded(embedder: Embedder, texts: Sequence[str]) -> Sequence[Vector]:
    try:
        return embedder.embed(texts)
    except Exception as error:
        raise _embedding_failed(error) from error


async def _aembedded(embedder: Embedder, texts: Sequence[str]) -> Sequence[Vector]:
    try:
        return await embedder.aembed(texts)
    except Exception as error:
        raise _embedding_failed(error) from error


def _embedding_failed(error: Exception) -> MetricFailed:
    failure = error_of(error)
    return MetricFailed(f"The embedding model failed: {failure.message} ({failure.code})")


def _cosine(one: Vector, other: Vector) -> float:
    if len(one) != len(other):
        raise MetricFailed("The embedding model gave vectors of different lengths.")
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    value = float(first @ second) / lengths if lengths else math.nan
    if not math.isfinite(value):
        raise MetricFailed("The embedding model gave a vector without direction.")
    return value


def _number(value: Any) -> float | None:
    """A number, or a text that is nothing but one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _as_float(value: Any) -> float | None:
    """Numbers of other libraries (NumPy, Decimal) as they are; texts are none."""
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {frames[-1].name}, line {frames[-1].lineno}" if len(frames) > 1 else ""
