"""Compiles from the request to the new version of the program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from datasets.models import Dataset
from executions.models import Evaluation, Metric
from mlops.models import CreditEntry, User
from mlops.selectors import unproven_balances
from optimizations.models import Optimization
from optimizations.services.working import work_optimizations
from programs.models import Program, PromptVersion
from programs.services import create_program, create_signature, deploy_program, submit_program
from programs.services.modules import ModuleInput
from tests.fakes import fields
from tests.optimizations import compiling
from tests.optimizations.compiling import make_dataset, make_metric, make_program, start, worked
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)


def result_of(job: Optimization) -> Program:
    assert job.result_program is not None
    return job.result_program


def evaluations_of(job: Optimization) -> tuple[Evaluation, Evaluation]:
    assert job.baseline_evaluation is not None
    assert job.best_evaluation is not None
    return job.baseline_evaluation, job.best_evaluation


def test_the_example_matcher_gets_better_with_examples(erin: User) -> None:
    compiling.matcher()
    program = make_program(erin)
    validation = make_dataset(erin, 30, type="validation", offset=100)
    job = start(erin, program=program, dataset=make_dataset(erin, 45), validation_set=validation, params={"k": 36})
    assert (job.state, job.attempt, job.finish_reason) == ("pending", 0, "")
    assert job.estimate["calls"] == [60, 60]

    job = worked(job)
    assert (job.state, job.finish_reason, job.error_code) == ("completed", "finished", "")
    assert (job.calls, job.cost, job.warnings) == (0, 0, [])
    assert (job.is_better, job.comparison["n"], job.comparison["losses"]) == (True, 30, 0)
    assert 0 < job.comparison["low"] <= job.comparison["difference"] <= job.comparison["high"]

    made = result_of(job)
    assert (made.name, made.version, made.status, made.compiled_from) == (program.name, 2, "draft", job)
    baseline, best = evaluations_of(job)
    assert (baseline.program, best.program, best.prompt_set.program) == (program, made, made)
    assert {evaluation.dataset for evaluation in (baseline, best)} == {validation}
    deployed = deploy_program(actor=erin, program=submit_program(actor=erin, program=made))
    assert deployed.status == "production"


def test_what_it_relies_on_is_frozen_from_the_start(erin: User) -> None:
    compiling.matcher()
    validation = make_dataset(erin, 6, type="validation", offset=100)
    job = start(erin, program=make_program(erin, is_submitted=False), validation_set=validation)
    assert not Dataset.objects.filter(frozen_at=None).exists()
    assert Metric.objects.get().frozen_at is not None
    signature = job.program.modules.get().signature
    assert signature is not None
    assert signature.frozen_at is not None


def test_bootstrapped_demos_know_the_example_they_came_from(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url)
    provider.answer(compiling.knowing())
    training = make_dataset(erin, 12)
    validation = make_dataset(erin, 15, type="validation", offset=100)
    job = worked(start(erin, dataset=training, validation_set=validation, optimizer="bootstrap_few_shot"))
    assert (job.state, job.finish_reason, job.is_better) == ("completed", "finished", True)

    candidate = job.candidates.get()
    assert (candidate.number, candidate.is_best, candidate.calls) == (0, True, job.calls)
    prompt = PromptVersion.objects.get(module__program=result_of(job), traffic_percentage=100)
    assert (prompt.source_kind, prompt.source_id) == ("candidate", candidate.pk)
    assert prompt.demos == candidate.state["classify"]["demos"]
    known = {str(example.pk): example.data for example in training.examples.all()}
    own = [demo for demo in prompt.demos if demo.get("augmented")]
    assert len(own) == 4
    assert all(known[demo["_example"]]["message"] == demo["message"] for demo in prompt.demos)
    assert prompt.performance_metrics

    baseline, best = evaluations_of(job)
    assert len(provider.requests) == baseline.calls + job.calls + best.calls
    assert job.estimate["calls"][0] <= len(provider.requests) <= job.estimate["calls"][1]
    assert job.memo_entries.count() == job.calls
    assert not list(unproven_balances())
    subjects = CreditEntry.objects.filter(kind="settle").values_list("subject_kind", "subject_id")
    assert set(subjects) == {("optimization", job.pk), ("evaluation", baseline.pk), ("evaluation", best.pk)}


def test_the_best_of_many_candidates_is_the_result(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url)
    provider.answer(compiling.knowing())
    validation = make_dataset(erin, 10, type="validation", offset=100)
    job = worked(
        start(
            erin,
            dataset=make_dataset(erin, 12),
            validation_set=validation,
            optimizer="bootstrap_few_shot_with_random_search",
            params={"num_candidate_programs": 2, "max_bootstrapped_demos": 2, "max_labeled_demos": 2},
        )
    )
    rows = list(job.candidates.order_by("number"))
    assert [(row.number, row.n) for row in rows] == [(number, 10) for number in range(5)]
    assert {(row.scored_on, row.is_partial) for row in rows} == {("validation", False)}
    assert rows[0].label == "baseline"
    assert rows[0].score == pytest.approx(0.5)
    best = next(row for row in rows if row.is_best)
    assert best.score == 1.0
    prompt = PromptVersion.objects.get(module__program=result_of(job), traffic_percentage=100)
    assert prompt.demos == best.state["classify"]["demos"]
    assert job.progress["phase"] == "judging"


def test_pending_ones_are_worked_off_one_after_the_other(erin: User) -> None:
    compiling.matcher()
    program, training = make_program(erin), make_dataset(erin, 12)
    jobs = [start(erin, program=program, dataset=training) for _ in range(3)]
    assert work_optimizations() == 3
    assert [result_of(Optimization.objects.get(pk=job.pk)).version for job in jobs] == [2, 3, 4]


def test_a_judge_is_under_guard_like_the_program(erin: User, provider: Provider) -> None:
    """Of a judge with two steps each call is counted, within the budget, remembered, and paid for once."""
    compiling.provided(provider.base_url)
    knows = compiling.knowing()

    def answer(body: Mapping[str, Any]) -> str:
        return fields(thought="well said", score=0.5) if "[[ ## thought ## ]]" in str(body) else knows(body)

    provider.answer(answer)
    steps = [("think", "answer -> thought"), ("rate", "thought -> score: float")]
    modules = [
        ModuleInput(key=key, signature=create_signature(actor=erin, name=key, shorthand=shorthand))
        for key, shorthand in steps
    ]
    judge = submit_program(actor=erin, program=create_program(actor=erin, name="judge", modules=modules))
    config = {"inputs": {"answer": "output.intent"}, "score": "score"}
    metric = make_metric(erin, kind="judge", config=config, judge_program=judge)
    wanted: dict[str, Any] = {
        "dataset": make_dataset(erin, 6),
        "validation_set": make_dataset(erin, 4, type="validation", offset=100),
        "program": make_program(erin),
        "metric": metric,
        "optimizer": "bootstrap_few_shot",
    }
    job = worked(start(erin, **wanted))
    assert (job.state, job.finish_reason) == ("completed", "finished")
    assert job.baseline_evaluation is not None
    assert job.best_evaluation is not None
    assert job.baseline_evaluation.calls == job.best_evaluation.calls == 4 * 3
    assert job.calls % 3 == 0
    assert job.calls == job.memo_entries.count() > 0
    assert len(provider.requests) == 2 * 4 * 3 + job.calls
