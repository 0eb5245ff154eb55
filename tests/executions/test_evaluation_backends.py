"""Scores of other language models say nothing about the program: they are neither mixed nor compared."""

from __future__ import annotations

from typing import Any

import pytest

from executions.models import Evaluation, EvaluationItem, Metric
from executions.services import compare_evaluations, planning, process, run_evaluation_here
from executions.services.evaluations import wake
from mlops.errors import Conflict
from mlops.models import LanguageModel, User
from mlops.selectors import forget_language_models
from mlops.services.history import operator
from mlops.services.language_models import set_default, set_fallbacks
from programs.models import Program
from tests.executions.evaluating import evaluate, numbers, right_answer, tell
from tests.executions.programs import make_program, provided_model
from tests.fakes import fields
from tests.installation import eventually
from tests.provider import Provider, status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model(provider: Provider) -> LanguageModel:
    tell(provider)
    return provided_model(provider, name="openai/large")


@pytest.fixture
def spare(model: LanguageModel, provider: Provider) -> LanguageModel:
    return provided_model(provider, name="openai/spare")


@pytest.fixture
def program(model: LanguageModel, erin: User) -> Program:
    return make_program(actor=erin, name="parity", status="draft")


def answer_with(model: LanguageModel) -> None:
    set_default(actor=operator(), model=model)
    planning.forget()


def fall_back(model: LanguageModel, *fallbacks: LanguageModel) -> None:
    set_fallbacks(actor=operator(), model=model, fallbacks=list(fallbacks))
    forget_language_models()
    planning.forget()


def judged(actor: User) -> Metric:
    judge = make_program(name="judge", status="testing", shorthand="answer: str -> score: float", actor=actor)
    config = {"inputs": {"answer": "output.answer"}, "score": "score"}
    return right_answer(actor, kind="judge", config=config, judge_program=judge)


def refusal(actor: User, baseline: Evaluation, candidate: Evaluation) -> str:
    with pytest.raises(Conflict) as refused:
        compare_evaluations(actor=actor, baseline=baseline, candidate=candidate)
    assert refused.value.code == "evaluations_not_comparable"
    return refused.value.message


def test_fallbacks_may_answer_too(model: LanguageModel, spare: LanguageModel, program: Program, erin: User) -> None:
    given: dict[str, Any] = {"dataset": numbers(erin, 5), "metrics": [right_answer(erin)]}
    alone = run_evaluation_here(evaluate(erin, program, **given))
    fall_back(model, spare)
    secured = run_evaluation_here(evaluate(erin, program, **given))
    assert (alone.backends, secured.backends) == (["openai/large"], ["openai/large > openai/spare"])
    assert refusal(erin, alone, secured).endswith("openai/large and openai/large > openai/spare.")


def test_a_judge_that_asks_another_model_is_another_judge(
    model: LanguageModel, spare: LanguageModel, program: Program, provider: Provider, erin: User
) -> None:
    provider.answer(lambda body: fields(answer="even", score=0.5))
    given: dict[str, Any] = {"dataset": numbers(erin, 3), "metrics": [judged(erin)], "language_model": model}
    before = run_evaluation_here(evaluate(erin, program, **given))
    answer_with(spare)
    after = run_evaluation_here(evaluate(erin, program, **given))

    assert before.backends == after.backends == ["openai/large"]
    assert [one.scores.get().backends for one in (before, after)] == [["openai/large"], ["openai/spare"]]
    assert "openai/large and openai/spare" in refusal(erin, before, after)


def test_metrics_that_ask_nobody_are_the_same_whoever_is_the_default(
    model: LanguageModel, spare: LanguageModel, program: Program, erin: User
) -> None:
    given: dict[str, Any] = {"dataset": numbers(erin, 3), "metrics": [right_answer(erin)], "language_model": model}
    before = run_evaluation_here(evaluate(erin, program, **given))
    answer_with(spare)
    after = run_evaluation_here(evaluate(erin, program, **given))
    assert before.scores.get().backends == after.scores.get().backends == []
    assert compare_evaluations(actor=erin, baseline=before, candidate=after).pairs.n == 3


@pytest.mark.parametrize("of_judge", [False, True])
def test_an_evaluation_does_not_begin_with_other_models_than_it_was_asked_for(
    of_judge: bool, model: LanguageModel, spare: LanguageModel, program: Program, provider: Provider, erin: User
) -> None:
    options: dict[str, Any] = {"metrics": [judged(erin)], "language_model": model} if of_judge else {}
    evaluation = evaluate(erin, program, 5, **options)
    answer_with(spare)

    row = run_evaluation_here(evaluation)

    assert (row.state, row.finish_reason, row.error_code) == ("failed", "failed", "language_models_changed")
    assert provider.requests == []
    assert set(row.shards.values_list("state", flat=True)) == {"cancelled"}


def test_nor_does_it_go_on_with_them_and_what_was_scored_stays(
    model: LanguageModel, spare: LanguageModel, program: Program, provider: Provider, erin: User
) -> None:
    provider.latency_s = 0.05
    evaluation = evaluate(erin, program, 100, concurrency=4)
    wake()
    eventually(lambda: Evaluation.objects.get(pk=evaluation.pk).done > 8)
    process.stop_thread()
    stopped = Evaluation.objects.get(pk=evaluation.pk)
    assert stopped.state == "running"
    fall_back(model, spare)

    row = run_evaluation_here(evaluation)

    assert (row.state, row.error_code, row.done) == ("failed", "language_models_changed", stopped.done)
    assert row.items.count() == row.scores.get().n == stopped.done
    assert len(provider.requests) == stopped.done


def test_examples_that_a_fallback_answered_on_one_side_are_no_pairs(
    model: LanguageModel, spare: LanguageModel, program: Program, provider: Provider, erin: User
) -> None:
    fall_back(model, spare)
    given: dict[str, Any] = {"dataset": numbers(erin, 5), "metrics": [right_answer(erin)], "concurrency": 1}
    before = run_evaluation_here(evaluate(erin, program, **given))
    provider.script(status(503))
    after = run_evaluation_here(evaluate(erin, program, **given))

    assert set(after.token_usage["by_model"]) == {"openai/large", "openai/spare"}
    found = compare_evaluations(actor=erin, baseline=before, candidate=after)
    replaced = [item.position for item in after.items.all() if "openai/spare" in item.token_usage["by_model"]]
    assert 0 < len(replaced) < 5
    assert (found.pairs.n, found.dropped, found.candidate.scored) == (5 - len(replaced), len(replaced), 5)

    for item in EvaluationItem.objects.filter(evaluation=after):
        item.token_usage["by_model"]["openai/spare"] = {}
        item.save()
    assert "fallbacks" in refusal(erin, before, after)
