"""Two evaluations side by side: exact pairs, honest gaps, refusals."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from datasets.models import Dataset
from executions.models import Evaluation, EvaluationItem, Metric
from executions.runtime.comparison import compare
from executions.services import compare_evaluations, evaluate_program
from executions.services.evaluations.ending import finish_if_done
from mlops.errors import Conflict, Forbidden, NotFound
from mlops.models import User
from programs.models import Program
from tests.executions.evaluating import numbers, right_answer
from tests.executions.programs import make_program
from tests.factories import make_default_language_model

pytestmark = pytest.mark.django_db

Scores = list["float | None"]


@pytest.fixture
def program(erin: User) -> Program:
    make_default_language_model()
    return make_program(actor=erin, name="parity", status="draft")


@pytest.fixture
def dataset(erin: User) -> Dataset:
    return numbers(erin, 40)


@pytest.fixture
def metric(erin: User) -> Metric:
    return right_answer(erin, name="right")


def scored(actor: User, program: Program, dataset: Dataset, metrics: list[Metric], scores: Scores) -> Evaluation:
    """An ended evaluation with these scores of its first metric; None is an error, what is left out was not reached."""
    evaluation = evaluate_program(actor=actor, program=program, dataset=dataset, metrics=metrics)
    for example, score in zip(dataset.examples.order_by("position"), scores, strict=False):
        EvaluationItem.objects.create(
            evaluation=evaluation,
            example=example,
            position=example.position,
            output={"answer": f"{score}"},
            scores={} if score is None else {metrics[0].name: score},
            feedback={metrics[0].name: f"said {score}"},
            error_code="timeout" if score is None else "",
            cost=None if score is None else 1000 * (example.position + 1),
            token_usage={"metrics": {"total": 1, "cost": 1000 * example.position}},
            duration_ms=example.position + 1.0,
        )
    Evaluation.objects.filter(pk=evaluation.pk).update(done=len(scores), state="running")
    evaluation.shards.update(state="completed")
    assert finish_if_done(evaluation.pk)
    return Evaluation.objects.get(pk=evaluation.pk)


def test_pairs_are_what_direct_calculation_gives(
    erin: User, program: Program, dataset: Dataset, metric: Metric
) -> None:
    draw = random.Random(7)
    old: Scores = [float(draw.random() < 0.5) for _ in range(40)]
    new: Scores = [float(draw.random() < 0.8) for _ in range(40)]
    baseline, candidate = (scored(erin, program, dataset, [metric], scores) for scores in (old, new))

    found = compare_evaluations(actor=erin, baseline=baseline, candidate=candidate, metric="right")

    assert found.pairs == compare(old, new)  # type: ignore[arg-type]  # none is None here
    assert (found.dropped, found.size, found.metric) == (0, 40, metric)
    lost = [position for position in range(40) if new[position] < old[position]]  # type: ignore[operator]
    assert [change.position for change in found.regressions] == lost
    assert found.pairs.losses == len(lost) > 0
    first = found.regressions[0]
    assert (first.old_output, first.new_output) == ({"answer": "1.0"}, {"answer": "0.0"})
    assert (first.old_feedback, first.new_feedback) == ("said 1.0", "said 0.0")
    assert (first.old_score, first.new_score) == (1.0, 0.0)
    durations = np.arange(1.0, 41.0)
    assert found.candidate.duration_ms.mean == durations.mean()
    assert found.candidate.duration_ms.p95 == np.percentile(durations, 95)
    assert (found.baseline.cost.mean, found.baseline.cost.p50, found.baseline.unpriced) == (1000, 1000, 0)


def test_only_what_both_have_scored_is_compared(erin: User, program: Program, dataset: Dataset, metric: Metric) -> None:
    old: Scores = [1.0, None, 0.0, 1.0, 0.5]
    new: Scores = [1.0, 1.0, None, 0.0, 1.0, 1.0, 1.0]
    baseline, candidate = (scored(erin, program, dataset, [metric], scores) for scores in (old, new))

    found = compare_evaluations(actor=erin, baseline=baseline, candidate=candidate)

    assert found.pairs == compare([1.0, 1.0, 0.5], [1.0, 0.0, 1.0])
    assert (found.dropped, found.baseline.scored, found.candidate.scored) == (37, 4, 6)
    assert (found.baseline.mean, found.candidate.mean) == (2.5 / 3, 2 / 3)
    assert (found.baseline.unpriced, found.candidate.unpriced) == (1, 1)
    assert [change.position for change in found.regressions] == [3]


def test_no_pair_at_all(erin: User, program: Program, dataset: Dataset, metric: Metric) -> None:
    baseline, candidate = (scored(erin, program, dataset, [metric], [None] * 3) for _ in range(2))
    found = compare_evaluations(actor=erin, baseline=baseline, candidate=candidate)
    assert (found.pairs.n, found.pairs.difference, found.pairs.p_value) == (0, None, None)
    assert (found.dropped, found.pairs.is_better, found.candidate.mean) == (40, False, None)


def test_a_hundred_regressions_are_listed_and_all_are_counted(erin: User, program: Program, metric: Metric) -> None:
    dataset = numbers(erin, 130)
    baseline = scored(erin, program, dataset, [metric], [1.0] * 130)
    candidate = scored(erin, program, dataset, [metric], [0.0] * 130)
    found = compare_evaluations(actor=erin, baseline=baseline, candidate=candidate)
    assert (found.pairs.losses, len(found.regressions), found.regressions[-1].position) == (130, 100, 99)


def refusal(actor: User, baseline: Evaluation, candidate: Evaluation, metric: Any = None) -> str:
    with pytest.raises(Conflict) as refused:
        compare_evaluations(actor=actor, baseline=baseline, candidate=candidate, metric=metric)
    assert refused.value.code == "evaluations_not_comparable"
    return refused.value.message


def test_what_cannot_be_compared(erin: User, program: Program, dataset: Dataset, metric: Metric) -> None:
    ended = scored(erin, program, dataset, [metric], [1.0] * 40)
    elsewhere = scored(erin, program, numbers(erin, 40), [metric], [1.0] * 40)
    assert "dataset" in refusal(erin, ended, elsewhere)
    Evaluation.objects.filter(pk=elsewhere.pk).update(dataset=dataset, backends=["openai/other"])
    assert "openai/other" in refusal(erin, ended, Evaluation.objects.get(pk=elsewhere.pk))
    pending = evaluate_program(actor=erin, program=program, dataset=dataset, metrics=[metric])
    assert "ended" in refusal(erin, ended, pending)
    second = right_answer(erin, name="second")
    other = scored(erin, program, dataset, [second], [1.0] * 40)
    assert "same version of this metric" in refusal(erin, ended, other)
    both = scored(erin, program, dataset, [metric, second], [1.0] * 40)
    assert "name one" in refusal(erin, both, both)
    assert compare_evaluations(actor=erin, baseline=both, candidate=both, metric=second).pairs.n == 0
    assert "same version" in refusal(erin, both, both, "third")


def test_who_may_compare(erin: User, alice: User, program: Program, dataset: Dataset, metric: Metric) -> None:
    ended = scored(erin, program, dataset, [metric], [1.0] * 40)
    with pytest.raises((Forbidden, NotFound)):
        compare_evaluations(actor=alice, baseline=ended, candidate=ended)
