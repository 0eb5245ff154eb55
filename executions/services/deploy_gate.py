"""A program may demand that only what is proven to be better replaces its production version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from datasets.types import DatasetType
from executions.errors import deploy_not_better
from executions.models import Evaluation, EvaluationItem, Metric
from executions.runtime.comparison import CONFIDENCE, Comparison, compare
from executions.services.evaluations.backends import answered_by, stand_ins
from executions.services.scoring import range_of
from executions.types import ExecutionState, FinishReason
from programs.models import Program
from programs.selectors import program_spec

METRIC_FAILED = "metric_failed"


def refuse_unproven(program: Program, production: Program | None) -> None:
    """Raise `Conflict` (`deploy_not_better`) unless `program` meets the demand of its config, or of that of
    `production`: a gate is not passed by leaving it out of the next version.

    `deploy_gate` names a metric, may name a dataset, and a confidence. It asks for complete evaluations of both
    versions, with the content and prompts that they have now, on the same version of a dataset that is not for
    training, with the same version of the metric and the same language models; of all such pairs the newest decides.
    Better is what `Comparison.is_better` says. Without a production version nothing is demanded.
    """
    if production is None:
        return
    gate = program.config.get("deploy_gate") or production.config.get("deploy_gate")
    if not gate:
        return
    pair = _newest_pair(program, production, gate)
    if pair is None:
        raise deploy_not_better(_missing(program, production, gate), {"metric": gate["metric"]})
    new, old, metric = pair
    comparison = _compared(old, new, metric, gate.get("confidence", CONFIDENCE))
    if not comparison.is_better:
        raise deploy_not_better(_words(production, comparison, new, metric), _figures(comparison, old, new))


def _newest_pair(
    program: Program, production: Program, gate: Mapping[str, Any]
) -> tuple[Evaluation, Evaluation, Metric] | None:
    """Evaluations of the new and of the old version that can be compared, with the metric."""
    former = list(_evaluations(production, gate))
    for evaluation in filter(_is_of_today, _evaluations(program, gate)):
        metrics = _metrics(evaluation, gate)
        for other in former:
            is_alike = other.dataset_id == evaluation.dataset_id and other.backends == evaluation.backends
            shared = metrics & _metrics(other, gate)
            if is_alike and shared and _is_of_today(other):
                return evaluation, other, shared.pop().metric
    return None


class _Asked(NamedTuple):
    """A metric, and the language models that it asks."""

    metric: Metric
    backends: tuple[str, ...]


def _metrics(evaluation: Evaluation, gate: Mapping[str, Any]) -> set[_Asked]:
    scores = (score for score in evaluation.scores.all() if score.metric.name == gate["metric"])
    return {_Asked(score.metric, tuple(score.backends or ())) for score in scores}


def _evaluations(program: Program, gate: Mapping[str, Any]) -> QuerySet[Evaluation]:
    """Complete evaluations of the version, newest first."""
    rows: QuerySet[Evaluation] = Evaluation.objects.filter(
        program=program,
        state=ExecutionState.COMPLETED,
        finish_reason=FinishReason.FINISHED,
        scores__metric__name=gate["metric"],
    ).exclude(dataset__type=DatasetType.TRAINING)
    if gate.get("dataset"):
        rows = rows.filter(dataset__name=gate["dataset"])
    with_rows = rows.select_related("program", "prompt_set", "dataset").prefetch_related("scores__metric")
    return with_rows.order_by("-id").distinct()


def _is_of_today(evaluation: Evaluation) -> bool:
    """Whether it evaluated what would be executed now: the version's present content and prompts in use."""
    in_use = all(version.traffic_percentage > 0 for version in evaluation.prompt_set.versions.all())
    return in_use and program_spec(evaluation.program, evaluation.prompt_set).digest() == evaluation.spec_digest


def _compared(old: Evaluation, new: Evaluation, metric: Metric, confidence: float) -> Comparison:
    """Example by example. An answer that the new version owes counts as the worst one; so does one that the old version
    owes, unless it was the metric that failed: then the example says nothing. Nor does one of which a fallback answered
    one side only."""
    known = range_of(metric)
    worst = 0.0 if known is None else known.low
    before = dict(_scores(old, metric))
    pairs = [
        (worst if former is None else former, worst if score is None else score)
        for position, (score, _error, answering) in _scores(new, metric)
        for former, error, answered in [before.get(position, (None, METRIC_FAILED, answering))]
        if (former is not None or error != METRIC_FAILED) and (answering == answered or None in (former, score))
    ]
    return compare((former for former, _score in pairs), (score for _former, score in pairs), confidence=confidence)


def _scores(evaluation: Evaluation, metric: Metric) -> Iterator[tuple[int, tuple[float | None, str, frozenset[str]]]]:
    """Position and score of each example, None where there is none, the error, and which fallbacks answered."""
    names = stand_ins(evaluation.backends) | stand_ins(evaluation.scores.get(metric=metric).backends)
    items = EvaluationItem.objects.filter(evaluation=evaluation).order_by("position")
    rows = items.values_list("position", "scores", "error_code", "token_usage").iterator()
    return (
        (position, (scores.get(metric.name), error, answered_by(usage, names)))
        for position, scores, error, usage in rows
    )


def _missing(program: Program, production: Program, gate: Mapping[str, Any]) -> str:
    said = _(
        "%(program)s has to be proven better than %(production)s: evaluate both, as they are now, with the metric "
        "%(metric)s on the same version of %(dataset)s and with the same language models."
    )
    dataset = gate.get("dataset") or _("a test or validation dataset")
    return said % {"program": program, "production": production, "metric": gate["metric"], "dataset": dataset}


def _words(production: Program, comparison: Comparison, new: Evaluation, metric: Metric) -> str:
    said = _(
        "Not proven to be better than %(production)s at %(confidence)g %%: %(metric)s on %(dataset)s went from "
        "%(old).3f to %(new).3f (n = %(n)d, difference %(interval)s, p = %(p).3g)."
    )
    if comparison.difference is None or comparison.p_value is None:
        return _("No example of %(dataset)s was scored in both evaluations.") % {"dataset": new.dataset}
    interval = f"{comparison.difference:+.3f}"
    if comparison.low is not None:
        interval += f" [{comparison.low:+.3f}, {comparison.high:+.3f}]"
    return said % {
        "production": production,
        "confidence": 100 * comparison.confidence,
        "metric": metric,
        "dataset": new.dataset,
        "old": comparison.old_mean,
        "new": comparison.new_mean,
        "n": comparison.n,
        "interval": interval,
        "p": comparison.p_value,
    }


def _figures(comparison: Comparison, old: Evaluation, new: Evaluation) -> dict[str, Any]:
    ids: dict[str, UUID] = {"evaluation": new.pk, "production_evaluation": old.pk}
    return {
        **{name: str(value) for name, value in ids.items()},
        "n": comparison.n,
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "p_value": comparison.p_value,
        "confidence": comparison.confidence,
    }
