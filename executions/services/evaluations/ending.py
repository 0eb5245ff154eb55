"""The end of an evaluation: made once, by whoever ends its last shard or finds that all have ended."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from executions.models import Evaluation, EvaluationItem, EvaluationScore, Metric
from executions.runtime.comparison import mean_of
from executions.runtime.metrics import majority_baseline
from executions.runtime.metrics.failures import CODE as METRIC_FAILED
from executions.services.evaluations.shards import WORKED_UNTIL
from executions.services.scoring import scorer_of
from executions.types import FinishReason
from mlops.errors import DomainError
from mlops.models import CreditEntry
from mlops.services.credits import MAX_AMOUNT, credits_for, settle
from mlops.services.watching import announce
from mlops.types import TERMINAL_STATES, JobState
from programs.services.scores import record_scores

CHUNK = 500

ANSWERED = ("", METRIC_FAILED)
"""Error codes of items that the program answered."""


@dataclass
class _OfMetric:
    """Eight bytes per score, whatever the number of items."""

    score: EvaluationScore
    values: array[float] = field(default_factory=lambda: array("d"))


def finish_if_done(evaluation_id: UUID) -> bool:
    """End the evaluation if all of its shards have ended and nobody else has; whether it has ended now.

    The scores are calculated outside of the transaction, from items that cannot change any more: who calculates them in
    vain has only lost time.
    """
    evaluation = Evaluation.objects.filter(pk=evaluation_id).first()
    if evaluation is None or evaluation.is_terminal:
        return evaluation is not None
    if evaluation.shards.exclude(state__in=TERMINAL_STATES).exists():
        return False
    scores, answered = _calculated(evaluation)
    with transaction.atomic():
        row = Evaluation.objects.select_for_update(of=("self",)).get(pk=evaluation_id)
        if row.is_terminal:
            return True
        _end(row)
        row.progress = {key: value for key, value in row.progress.items() if key != WORKED_UNTIL}
        row.save()
        EvaluationScore.objects.bulk_update(
            scores, ["mean", "low", "high", "confidence", "n", "errors", "majority_baseline"]
        )
        if row.finish_reason == FinishReason.FINISHED:
            _record(row, scores)
        _settle(row, answered)  # locks the account, which is last wherever it is locked
        announce(row)
    return True


def _end(row: Evaluation) -> None:
    """The transition that its shards call for."""
    failed = row.shards.filter(state=JobState.FAILED).first()
    if row.state == JobState.PENDING and row.cancel_requested_at is None:
        row.start()  # no worker got as far as its first shard
    if failed is not None and not row.error_code:
        row.error_code, row.error_message = failed.error_code, failed.error_message
    if row.error_code and row.state == JobState.RUNNING:
        row.finish_reason = FinishReason.FAILED.value
        row.fail(row.error_code, row.error_message)
    elif row.done == row.size:  # asked to stop too late
        row.finish_reason = FinishReason.FINISHED.value
        row.complete()
    elif row.cancel_requested_at is not None:
        row.finish_reason = FinishReason.CANCELLED.value
        row.cancel()
    else:
        row.finish_reason = row.finish_reason or FinishReason.FINISHED.value
        row.complete()


def _calculated(evaluation: Evaluation) -> tuple[list[EvaluationScore], int]:
    """The scores in the order of positions, so that they are the same whoever worked; how many examples the program
    answered."""
    metrics = {
        score.metric.name: _OfMetric(score)
        for score in evaluation.scores.select_related("metric__judge_program", "metric__language_model")
    }
    answered, items = 0, 0
    for scores, error_code in _rows_of(evaluation, "scores", "error_code"):
        items += 1
        answered += error_code in ANSWERED
        for name, value in scores.items():
            metrics[name].values.append(value)
    for one in metrics.values():
        _fill(one, items, _baseline(evaluation, one.score.metric))
    return [one.score for one in metrics.values()], answered


def _rows_of(evaluation: Evaluation, *columns: str) -> Iterator[tuple[Any, ...]]:
    rows = EvaluationItem.objects.filter(evaluation=evaluation).order_by("position")
    return rows.values_list(*columns).iterator(chunk_size=CHUNK)


def _baseline(evaluation: Evaluation, metric: Metric) -> float | None:
    """What always saying the same scores, on the examples that have a score of `metric`."""
    try:
        scorer = scorer_of(metric)
    except DomainError:
        return None  # its code is registered no longer: the scores are there all the same

    def examples() -> Iterator[Mapping[str, Any]]:
        rows = _rows_of(evaluation, "scores", "example__data")
        return (data for scores, data in rows if metric.name in scores)

    return majority_baseline(scorer, examples)


def _fill(one: _OfMetric, items: int, baseline: float | None) -> None:
    mean = mean_of(one.values)
    one.score.mean, one.score.low, one.score.high = mean.mean, mean.low, mean.high
    one.score.confidence = mean.confidence
    one.score.n, one.score.errors = mean.n, items - mean.n
    one.score.majority_baseline = baseline


def credits_used(row: Evaluation) -> int:
    """Micro-credits that an evaluation which has ended used."""
    return _used(row, row.items.filter(error_code__in=ANSWERED).count(), _reservation(row))


def _settle(row: Evaluation, answered: int) -> None:
    reservation = _reservation(row)
    settle(reservation=reservation, used=min(_used(row, answered, reservation), MAX_AMOUNT))


def _reservation(row: Evaluation) -> CreditEntry:
    return CreditEntry.objects.get(key=f"evaluation:{row.pk}")


def _used(row: Evaluation, answered: int, reservation: CreditEntry) -> int:
    """Micro-credits: the program's own price, else what is known of the cost, and for each item of unknown cost its
    share of what was reserved, as long as that lasts."""
    fixed = row.program.credits_per_execution
    if fixed is not None:
        return int(fixed) * answered
    known, reserved = credits_for(row.cost), -reservation.amount
    return max(known, min(known + row.unpriced * -(-reserved // row.size), reserved))


def _record(row: Evaluation, scores: list[EvaluationScore]) -> None:
    """Note them on the program and its prompts; what was scored in part says nothing about the whole."""
    assert row.finished_at is not None  # set by the transition
    noted = {
        str(score.metric): {
            "mean": score.mean,
            "low": score.low,
            "high": score.high,
            "n": score.n,
            "errors": score.errors,
            "evaluation": str(row.pk),
            "at": row.finished_at.isoformat(),
        }
        for score in scores
        if score.mean is not None
    }
    if noted:
        record_scores(
            actor=row.user, program=row.program, prompt_set=row.prompt_set, dataset=str(row.dataset), scores=noted
        )
