"""Two evaluations on the same examples, side by side."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from django.utils.translation import gettext as _

from executions.errors import evaluations_not_comparable
from executions.models import Evaluation, EvaluationItem, EvaluationScore, Metric
from executions.policies import evaluation_policy
from executions.runtime.comparison import Comparison, compare
from executions.services.evaluations.backends import answered_by, stand_ins
from mlops.models import User
from mlops.verbs import verb

CHUNK = 500
MAX_LISTED = 100
"""Regressions that are listed; how many there are is told of all."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one figure per example; None of no examples."""

    mean: float | None
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """One evaluation within a comparison. `mean` is that of the pairs; `cost` in pico-dollars per example, of the
    program alone, and `unpriced` examples are not in it; `duration_ms` is the program's."""

    evaluation: UUID
    mean: float | None
    scored: int
    cost: Spread
    unpriced: int
    duration_ms: Spread


@dataclass(frozen=True, slots=True)
class Change:
    """An example whose score has fallen, with both answers and what the metric said of them."""

    example: UUID
    position: int
    old_score: float
    new_score: float
    old_output: Any
    new_output: Any
    old_feedback: str
    new_feedback: str


@dataclass(frozen=True, slots=True)
class EvaluationComparison:
    """`pairs.difference` is candidate minus baseline, over the examples that both have a score of by the same language
    models; of the `size` examples of the dataset `dropped` have not. `regressions` are the first `MAX_LISTED` of
    `pairs.losses`."""

    metric: Metric
    baseline: Side
    candidate: Side
    size: int
    dropped: int
    pairs: Comparison
    regressions: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which scores, and which models would make them others."""

    metric: str
    stand_ins: frozenset[str]


@dataclass
class _Series:
    """Of one side. `unlike` counts the pairs that are none, since a fallback answered one side only."""

    scores: array[float] = field(default_factory=lambda: array("d"))
    scored: int = 0
    costs: array[float] = field(default_factory=lambda: array("d"))
    durations: array[float] = field(default_factory=lambda: array("d"))
    unpriced: int = 0
    unlike: int = 0

    def add(self, cost: int | None, duration_ms: float | None, usage: dict[str, Any]) -> None:
        """Of an example that was run."""
        if duration_ms is None:
            return
        self.durations.append(duration_ms)
        of_metrics = (usage.get("metrics") or {"cost": 0})["cost"]
        if cost is None or of_metrics is None:
            self.unpriced += 1
        else:
            self.costs.append(cost - of_metrics)


@verb(evaluation_policy, "compare")
def compare_evaluations(
    *, actor: User, baseline: Evaluation, candidate: Evaluation, metric: Metric | str | None = None
) -> EvaluationComparison:
    """The paired comparison of two ended evaluations by one metric, which may be named and left out where there is one.

    Examples of which one side was answered or judged by a fallback and the other was not are no pairs.

    Raises `Forbidden`, `NotFound` and `Conflict` (`evaluations_not_comparable` with the reason): of other dataset
    versions, other language models, other metrics.
    """
    for evaluation in (baseline, candidate):
        evaluation_policy.check(actor, "compare", evaluation)
    _refuse_unlike(baseline, candidate)
    chosen = _common_metric(baseline, candidate, metric)
    names = stand_ins(baseline.backends) | stand_ins(_common_backends(baseline, candidate, chosen))
    old, new = _Series(), _Series()
    fallen = _read(baseline, candidate, _Wanted(chosen.name, names), old, new)
    if old.unlike and not old.scores:
        raise evaluations_not_comparable(_("On every example fallbacks answered the one and not the other."))
    pairs = compare(old.scores, new.scores)
    return EvaluationComparison(
        metric=chosen,
        baseline=_side(baseline, old, pairs.old_mean),
        candidate=_side(candidate, new, pairs.new_mean),
        size=baseline.size,
        dropped=baseline.size - pairs.n,
        pairs=pairs,
        regressions=tuple(_changes(baseline, candidate, chosen.name, fallen)),
    )


def _refuse_unlike(baseline: Evaluation, candidate: Evaluation) -> None:
    if not (baseline.is_terminal and candidate.is_terminal):
        raise evaluations_not_comparable(_("Both evaluations must have ended."))
    if baseline.dataset_id != candidate.dataset_id:
        raise evaluations_not_comparable(_("They were made on different dataset versions."))
    if baseline.backends != candidate.backends:
        raise evaluations_not_comparable(
            _("They were answered by different language models: %(old)s and %(new)s.")
            % {"old": ", ".join(baseline.backends), "new": ", ".join(candidate.backends)}
        )


def _common_metric(baseline: Evaluation, candidate: Evaluation, metric: Metric | str | None) -> Metric:
    common: list[Metric] = list(Metric.objects.filter(scores__evaluation=baseline).filter(scores__evaluation=candidate))
    if metric is None and len(common) == 1:
        return common[0]
    wanted = [one for one in common if metric in (one, one.name, str(one), str(one.pk))]
    if wanted:
        return wanted[0]
    if metric is None and common:
        raise evaluations_not_comparable(_("They have several metrics in common: name one."))
    raise evaluations_not_comparable(_("They were not scored with the same version of this metric."))


def _common_backends(baseline: Evaluation, candidate: Evaluation, metric: Metric) -> list[str]:
    """The language models that the metric asked on both sides."""
    scores = EvaluationScore.objects.filter(metric=metric)
    old, new = (scores.get(evaluation=evaluation).backends for evaluation in (baseline, candidate))
    if old != new:
        words = _("The metric asked different language models: %(old)s and %(new)s.")
        raise evaluations_not_comparable(words % {"old": _said(old), "new": _said(new)})
    return old or []


def _said(backends: list[str] | None) -> str:
    return _("unknown") if backends is None else ", ".join(backends)


def _read(baseline: Evaluation, candidate: Evaluation, wanted: _Wanted, old: _Series, new: _Series) -> list[int]:
    """Fill both series in the order of positions; the positions of the first examples that have fallen."""
    fallen: list[int] = []
    waiting = _rows(candidate, wanted)
    other = next(waiting, None)
    for position, score, answering, *used in _rows(baseline, wanted):
        while other is not None and other[0] < position:
            _note(new, other)
            other = next(waiting, None)
        _note(old, (position, score, answering, *used))
        if other is None or other[0] != position or score is None or other[1] is None:
            continue
        if other[2] != answering:
            old.unlike += 1
            continue
        old.scores.append(score)
        new.scores.append(other[1])
        if other[1] < score and len(fallen) < MAX_LISTED:
            fallen.append(position)
    while other is not None:
        _note(new, other)
        other = next(waiting, None)
    return fallen


def _note(series: _Series, row: tuple[Any, ...]) -> None:
    _position, score, _answering, cost, duration_ms, usage = row
    series.scored += score is not None
    series.add(cost, duration_ms, usage)


def _rows(evaluation: Evaluation, wanted: _Wanted) -> Iterator[tuple[Any, ...]]:
    """Position, score or None, which fallbacks answered, cost, duration and usage of every item."""
    items = EvaluationItem.objects.filter(evaluation=evaluation).order_by("position")
    columns = ("position", "scores", "cost", "duration_ms", "token_usage")
    for position, scores, cost, duration_ms, usage in items.values_list(*columns).iterator(chunk_size=CHUNK):
        yield position, scores.get(wanted.metric), answered_by(usage, wanted.stand_ins), cost, duration_ms, usage


def _side(evaluation: Evaluation, series: _Series, mean: float | None) -> Side:
    return Side(evaluation.pk, mean, series.scored, _spread(series.costs), series.unpriced, _spread(series.durations))


def _spread(values: array[float]) -> Spread:
    if not values:
        return Spread(None, None, None)
    numbers = np.frombuffer(values)
    p50, p95 = np.percentile(numbers, (50, 95))
    return Spread(float(numbers.mean()), float(p50), float(p95))


def _changes(baseline: Evaluation, candidate: Evaluation, metric: str, positions: list[int]) -> Iterator[Change]:
    columns = ("output", "scores", "feedback", "example_id")
    old, new = (
        {item.position: item for item in evaluation.items.filter(position__in=positions).only("position", *columns)}
        for evaluation in (baseline, candidate)
    )
    for position in positions:
        before, after = old[position], new[position]
        yield Change(
            example=before.example_id,
            position=position,
            old_score=before.scores[metric],
            new_score=after.scores[metric],
            old_output=before.output,
            new_output=after.output,
            old_feedback=before.feedback.get(metric, ""),
            new_feedback=after.feedback.get(metric, ""),
        )
