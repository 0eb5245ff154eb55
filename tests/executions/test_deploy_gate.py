"""A program that demands proof: what replaces its production version has to be better, example by example."""

from __future__ import annotations

from typing import Any

import pytest

from datasets.models import Dataset
from datasets.services import create_dataset
from executions.models import Evaluation, EvaluationItem, EvaluationScore, Metric
from executions.services import create_metric, new_metric_version
from executions.types import ExecutionState, FinishReason
from mlops.errors import Conflict, Invalid
from mlops.models import User
from programs.models import Program, PromptSet
from programs.selectors import program_spec
from programs.services import (
    activate_prompt_version,
    choose_prompt_set,
    create_prompt_version,
    deploy_program,
    new_version,
    roll_back_program,
    submit_program,
    update_program,
)
from tests.conftest import api_of
from tests.factories import make_program

GATE = {"metric": "accuracy"}
SIZE = 20


@pytest.fixture
def metric(erin: User) -> Metric:
    return create_metric(actor=erin, name="accuracy", kind="exact_match", config={"field": "intent"})


@pytest.fixture
def dataset(erin: User) -> Dataset:
    return dataset_of(erin, "messages", "test")


def dataset_of(erin: User, name: str, type: str) -> Dataset:
    examples = [{"message": str(number), "intent": "x"} for number in range(SIZE)]
    return create_dataset(actor=erin, name=name, type=type, examples=examples)


def production_of(config: dict[str, Any]) -> Program:
    return make_program(name="triage", status="production", config=config)


def next_of(erin: User, program: Program, **changes: Any) -> Program:
    """The next version, in testing."""
    draft = new_version(actor=erin, program=program)
    if changes:
        draft = update_program(actor=erin, program=draft, **changes)
    return submit_program(actor=erin, program=draft)


def evaluated(
    program: Program,
    dataset: Dataset,
    metric: Metric,
    right: int,
    *,
    missing: dict[int, str] | None = None,
    **fields: Any,
) -> Evaluation:
    """A complete evaluation in which the first `right` examples are right; `missing` have no score but an error."""
    prompt_set: PromptSet = fields.pop("prompt_set", None) or choose_prompt_set(program)
    state = fields.pop("state", ExecutionState.COMPLETED)
    evaluation = Evaluation(
        program=program,
        prompt_set=prompt_set,
        dataset=dataset,
        user=User.objects.get(username="erin"),
        spec_digest=program_spec(program, prompt_set).digest(),
        **{"finish_reason": FinishReason.FINISHED.value, "backends": ["openai/one"], "size": SIZE, **fields},
    )
    evaluation.save()
    Evaluation.objects.filter(pk=evaluation.pk).update(state=state.value)
    EvaluationScore.objects.create(evaluation=evaluation, metric=metric)
    lacking = missing or {}
    for position, example in enumerate(dataset.examples.order_by("position")):
        error = lacking.get(position, "")
        scores = {} if error else {metric.name: float(position < right)}
        EvaluationItem.objects.create(
            evaluation=evaluation, example=example, position=position, scores=scores, error_code=error
        )
    return evaluation


def refused(erin: User, program: Program) -> Conflict:
    with pytest.raises(Conflict) as refusal:
        deploy_program(actor=erin, program=program)
    assert refusal.value.code == "deploy_not_better"
    assert Program.objects.get(pk=program.pk).status == "testing"
    assert Program.objects.get(name=program.name, status="production").version == 1
    return refusal.value


def test_the_first_version_has_nothing_to_be_better_than(erin: User) -> None:
    assert production_of({"deploy_gate": GATE}).status == "production"


def test_without_a_gate_nothing_is_demanded(erin: User) -> None:
    assert deploy_program(actor=erin, program=next_of(erin, production_of({}))).status == "production"


def test_what_is_missing_is_said(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    refusal = refused(erin, second)
    assert refusal.message == (
        "triage@2 has to be proven better than triage@1: evaluate both, as they are now, with the metric accuracy on "
        "the same version of a test or validation dataset and with the same language models."
    )
    evaluated(second, dataset, metric, 20)
    refused(erin, second)


def test_what_is_proven_better_is_deployed(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 8)
    evaluated(second, dataset, metric, 16)
    assert deploy_program(actor=erin, program=second).status == "production"
    assert Program.objects.get(pk=first.pk).status == "archived"
    back = roll_back_program(actor=erin, program=second)
    assert (back.version, back.status) == (1, "production")


def test_what_may_be_chance_is_not_deployed(erin: User, metric: Metric, dataset: Dataset) -> None:
    """Four wins of twenty without a loss: p = 1/8."""
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    old = evaluated(first, dataset, metric, 12)
    new = evaluated(second, dataset, metric, 16)
    refusal = refused(erin, second)
    assert refusal.message.startswith(
        "Not proven to be better than triage@1 at 95 %: accuracy@1 on messages/test@1 went from 0.600 to 0.800 "
        "(n = 20, difference +0.200 ["
    )
    assert refusal.message.endswith("p = 0.125).")
    assert refusal.extra["evaluation"] == str(new.pk)
    assert refusal.extra["production_evaluation"] == str(old.pk)
    assert (refusal.extra["n"], refusal.extra["p_value"]) == (20, 0.125)


def test_a_lower_confidence_demands_less(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": {**GATE, "confidence": 0.8}})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 12)
    evaluated(second, dataset, metric, 16)
    assert deploy_program(actor=erin, program=second).status == "production"


def test_worse_is_not_deployed(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 16)
    evaluated(second, dataset, metric, 8)
    refused(erin, second)


def test_a_gate_is_not_passed_by_leaving_it_out(erin: User, metric: Metric) -> None:
    refused(erin, next_of(erin, production_of({"deploy_gate": GATE}), config={}))


def test_the_newest_evaluations_decide(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 4)
    evaluated(second, dataset, metric, 18)
    evaluated(second, dataset, metric, 4)
    refused(erin, second)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": ExecutionState.FAILED, "finish_reason": "failed"},
        {"state": ExecutionState.RUNNING, "finish_reason": ""},
        {"finish_reason": "budget"},
        {"backends": ["openai/another"]},
    ],
)
def test_evaluations_that_do_not_count(erin: User, metric: Metric, dataset: Dataset, fields: dict[str, Any]) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 4)
    evaluated(second, dataset, metric, 18, **fields)
    assert "has to be proven better" in refused(erin, second).message


def test_scores_of_another_judge_do_not_count(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 4)
    better = evaluated(second, dataset, metric, 18)
    better.scores.update(backends=["openai/generous"])
    assert "has to be proven better" in refused(erin, second).message


def test_what_a_fallback_answered_on_one_side_proves_nothing(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    chain: dict[str, Any] = {"backends": ["openai/one > openai/two"]}
    evaluated(first, dataset, metric, 4, **chain)
    better = evaluated(second, dataset, metric, 18, **chain)
    better.items.filter(position__gte=6).update(token_usage={"by_model": {"openai/two": {}}})
    assert "n = 6" in refused(erin, second).message
    better.items.update(token_usage={"by_model": {"openai/one": {}}})
    assert deploy_program(actor=erin, program=second).status == "production"


def test_other_datasets_and_metrics_do_not_count(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": {**GATE, "dataset": "messages"}})
    second = next_of(erin, first)
    training, other = dataset_of(erin, "messages", "training"), dataset_of(erin, "others", "test")
    newer = new_metric_version(actor=erin, metric=metric)
    another = create_metric(actor=erin, name="another", kind="exact_match", config={"field": "intent"})
    for of_dataset, of_metric in ((training, metric), (other, metric), (dataset, another)):
        evaluated(first, of_dataset, of_metric, 4)
        evaluated(second, of_dataset, of_metric, 18)
    evaluated(first, dataset, newer, 4)
    evaluated(second, dataset, metric, 18)
    assert "on the same version of messages" in refused(erin, second).message
    evaluated(second, dataset, newer, 18)
    assert deploy_program(actor=erin, program=second).status == "production"


def test_an_evaluation_with_prompts_that_are_used_no_longer_does_not_count(
    erin: User, metric: Metric, dataset: Dataset
) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 4)
    evaluated(second, dataset, metric, 18)
    module = second.modules.get()
    changed = create_prompt_version(actor=erin, module=module, prompt_template="Guess.")
    activate_prompt_version(actor=erin, prompt_version=changed)
    assert "has to be proven better" in refused(erin, second).message
    evaluated(second, dataset, metric, 18)
    assert deploy_program(actor=erin, program=second).status == "production"


def test_an_answer_that_is_owed_counts_against_the_new_version(erin: User, metric: Metric, dataset: Dataset) -> None:
    """It is right wherever it answered, but it owes the twelve others: of old right ones it loses what it gains."""
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 12)
    evaluated(second, dataset, metric, 20, missing=dict.fromkeys(range(12), "timeout"))
    assert refused(erin, second).extra["difference"] == pytest.approx((8 - 12) / 20)


def test_where_the_metric_failed_for_the_old_version_nothing_is_gained(
    erin: User, metric: Metric, dataset: Dataset
) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 4, missing=dict.fromkeys(range(4, 20), "metric_failed"))
    evaluated(second, dataset, metric, 20)
    refusal = refused(erin, second)
    assert (refusal.extra["n"], refusal.extra["difference"]) == (4, 0)


@pytest.mark.parametrize(
    "gate",
    [
        "accuracy",
        {},
        {"metric": "Not A Name"},
        {"metric": "accuracy", "confidence": 1},
        {"metric": "accuracy", "confidence": 0.4},
        {"metric": "accuracy", "dataset": ""},
        {"metric": "accuracy", "colour": "red"},
    ],
)
def test_a_broken_gate_is_refused(erin: User, gate: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        make_program(config={"deploy_gate": gate})
    assert refusal.value.code == "config_invalid"
    assert all(problem.field.startswith("config.deploy_gate") for problem in refusal.value.problems)


def test_the_refusal_over_rest_has_the_figures(erin: User, metric: Metric, dataset: Dataset) -> None:
    first = production_of({"deploy_gate": GATE})
    second = next_of(erin, first)
    evaluated(first, dataset, metric, 12)
    evaluated(second, dataset, metric, 16)
    answer = api_of(erin).post(f"/api/v1/programs/{second.pk}/deploy/", {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "deploy_not_better")
    assert (answer.json()["n"], answer.json()["p_value"]) == (20, 0.125)
