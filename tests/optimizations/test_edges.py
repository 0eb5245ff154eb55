"""Compiles that are refused, stopped, limited, or come to nothing; and what they protect meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from datasets.models import Dataset
from datasets.services import create_dataset, delete_dataset
from executions.models import Evaluation
from mlops.errors import Conflict, DomainError, Forbidden, NotFound
from mlops.models import CreditEntry, User
from mlops.models.base import new_id
from mlops.services.credits import credits_for
from mlops.types import Role
from optimizations.models import MemoEntry, Optimization
from optimizations.services import adopt_candidate, cancel_optimization, compile_program, estimate_optimization
from optimizations.services.ending import credits_used
from optimizations.services.working import sweep_optimizations, work_optimizations
from optimizations.types import RUNTIME_VERSION, Budget, OptimizerName
from programs.models import Program
from programs.services import archive_program, delete_program, update_program
from tests.factories import make_user
from tests.installation import eventually
from tests.optimizations import compiling
from tests.optimizations.compiling import make_dataset, make_metric, make_program, start, worked, working
from tests.provider import Provider, status

pytestmark = pytest.mark.django_db(transaction=True)

SEARCH: dict[str, Any] = {"optimizer": "bootstrap_few_shot_with_random_search"}
SMALL = {"num_candidate_programs": 2, "max_bootstrapped_demos": 2, "max_labeled_demos": 2}


def refusal(call: Callable[[], Any]) -> DomainError:
    """What `call` is refused with; and that nothing was begun."""
    before = Optimization.objects.count()
    with pytest.raises(DomainError) as caught:
        call()
    assert Optimization.objects.count() == before
    return caught.value


def row_of(job: Optimization) -> Optimization:
    return Optimization.objects.get(pk=job.pk)


def ledger_of(job: Optimization) -> list[tuple[str, int]]:
    return list(CreditEntry.objects.filter(subject_id=job.pk).order_by("id").values_list("kind", "used"))


# Refused


def test_a_test_set_is_sealed(erin: User) -> None:
    compiling.matcher()
    sealed = make_dataset(erin, 6, type="test")
    for field in ("dataset", "validation_set"):
        error = refusal(partial(start, erin, **{field: sealed}))
        assert (error.code, error.field, type(error)) == ("dataset_sealed", field, Conflict)


def test_a_validation_set_is_not_for_training_and_not_the_training_set_itself(erin: User) -> None:
    compiling.matcher()
    validation = make_dataset(erin, 6, type="validation")
    training = make_dataset(erin, 6)
    assert refusal(lambda: start(erin, dataset=validation)).code == "dataset_not_for_training"
    assert (
        refusal(lambda: start(erin, dataset=training, validation_set=validation)).code
        == "validation_set_is_training_set"
    )


def test_a_training_set_must_be_large_enough(erin: User) -> None:
    compiling.matcher()
    validation = make_dataset(erin, 6, type="validation", offset=100)
    given = {
        "dataset": make_dataset(erin, 5),
        "validation_set": validation,
        "optimizer": "simba",
        "params": {"bsize": 6},
    }
    assert refusal(lambda: start(erin, **given)).code == "training_set_too_small"
    assert refusal(lambda: start(erin, dataset=make_dataset(erin, 1))).code == "too_few_examples"
    assert not Dataset.objects.filter(name__endswith="-parts").exists()


def test_a_parameter_that_the_data_do_not_allow_is_refused_like_one_out_of_range(erin: User) -> None:
    compiling.matcher()
    given: dict[str, Any] = {
        "dataset": make_dataset(erin, 12),
        "validation_set": make_dataset(erin, 6, type="validation", offset=100),
        "optimizer": "mipro_v2",
    }
    sized = {"auto": None, "num_candidates": 2, "num_trials": 2}
    for size in (7, 0):
        error = refusal(partial(start, erin, **given, params={**sized, "minibatch_size": size}))
        assert (error.code, error.field) == ("optimizer_params_invalid", "optimizer.params.minibatch_size")
        assert [(problem.code, problem.field) for problem in error.problems] == [("params_invalid", error.field)]
    assert start(erin, **given, params={**sized, "minibatch_size": 6}).state == "pending"


def test_data_that_does_not_fit_is_refused(erin: User) -> None:
    compiling.matcher()
    metric = make_metric(erin, config={"field": "intent", "expected": "answer"})
    assert refusal(lambda: start(erin, metric=metric)).code == "dataset_does_not_fit"


def test_only_engineers_inside_compile(erin: User, alice: User) -> None:
    compiling.matcher()
    group = Group.objects.create(name="payments")
    erin.groups.add(group)
    program = make_program(erin, group=group)
    wanted: dict[str, Any] = {"program": program, "dataset": make_dataset(erin, 12), "metric": make_metric(erin)}
    outside = make_user(Role.ML_ENGINEER.value)
    assert isinstance(refusal(lambda: compile_program(actor=outside, **wanted, optimizer="labeled_few_shot")), NotFound)
    production = make_program(erin)
    wanted["program"] = production
    assert isinstance(
        refusal(lambda: compile_program(actor=alice, **wanted, optimizer="labeled_few_shot")), NotFound | Forbidden
    )
    job = start(erin, program=program)
    with pytest.raises(NotFound):
        cancel_optimization(actor=outside, optimization=job)
    assert not Optimization.objects.visible_to(outside).exists()


@pytest.mark.parametrize("budget", [Budget(calls=0), Budget(calls=1), Budget(tokens=1), Budget(cost=1)])
def test_a_budget_that_cannot_do_is_refused_before_anything_begins(
    erin: User, provider: Provider, budget: Budget
) -> None:
    compiling.provided(provider.base_url)
    error = refusal(lambda: start(erin, budget=budget))
    assert (error.code, error.field) == ("budget_too_small", f"budget.{next(iter(budget.as_json()))}")
    assert provider.requests == []
    assert not Evaluation.objects.exists()


def test_a_limited_cost_needs_prices(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url, price=None)
    assert refusal(lambda: start(erin, budget=Budget(cost=10**12))).code == "price_unknown"
    assert start(erin, budget=Budget(calls=10_000)).state == "pending"


def test_an_archived_program_is_compiled_into_a_new_draft(erin: User) -> None:
    compiling.matcher()
    program = archive_program(actor=erin, program=make_program(erin))
    job = worked(start(erin, program=program))
    assert (job.state, job.finish_reason) == ("completed", "finished")
    assert job.result_program is not None
    assert (job.result_program.status, job.result_program.compiled_from) == ("draft", job)
    assert Program.objects.get(pk=program.pk).status == "archived"


def test_a_budget_of_no_money_is_enough_for_a_model_that_costs_nothing(erin: User) -> None:
    compiling.matcher()
    job = worked(start(erin, budget=Budget(cost=0)))
    assert (job.state, job.finish_reason, job.cost) == ("completed", "finished", 0)
    for evaluation in (job.baseline_evaluation, job.best_evaluation):
        assert evaluation is not None
        assert (evaluation.finish_reason, evaluation.done, evaluation.cost) == ("finished", evaluation.size, 0)


def test_of_many_requests_with_one_key_one_starts_the_work(erin: User) -> None:
    compiling.matcher()
    wanted: dict[str, Any] = {
        "program": make_program(erin),
        "dataset": make_dataset(erin, 12),
        "validation_set": make_dataset(erin, 6, type="validation", offset=100),
        "metric": make_metric(erin),
    }

    def ask() -> Any:
        try:
            return start(erin, **wanted, idempotency_key="monday").pk
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        answers = {future.result() for future in [threads.submit(ask) for _ in range(4)]}
    job = Optimization.objects.get()
    assert answers == {job.pk}
    assert [kind for kind, _used in ledger_of(job)] == ["reserve"]
    assert CreditEntry.objects.count() == 1


# Said before it begins


def test_overlap_with_test_sets_is_said(erin: User) -> None:
    compiling.matcher()
    make_dataset(erin, 4, type="test", offset=2, name="sealed")
    validation = make_dataset(erin, 6, type="validation", offset=10)
    wanted: dict[str, Any] = {
        "program": make_program(erin),
        "dataset": make_dataset(erin, 12),
        "metric": make_metric(erin),
    }
    estimate = estimate_optimization(actor=erin, **wanted, optimizer="labeled_few_shot", validation_set=validation)
    assert [(item["other"], item["shared"], item["sealed"]) for item in estimate.overlaps] == [
        ("sealed/test@1", 4, True),
        (str(wanted["dataset"]), 2, False),
    ]
    assert len(estimate.warnings) == 2
    job = start(erin, **wanted, validation_set=validation)
    assert job.warnings == list(estimate.warnings)


def test_without_a_validation_set_a_part_is_split_off_once(erin: User) -> None:
    compiling.matcher()
    training, program = make_dataset(erin, 20, name="intents"), make_program(erin)
    first, second = (start(erin, dataset=training, program=program, seed=3) for _ in range(2))
    other = start(erin, dataset=training, program=program, seed=4)
    assert (first.dataset, first.validation_set) == (second.dataset, second.validation_set)
    assert first.validation_set != other.validation_set
    assert first.validation_set is not None
    assert (first.dataset.size, first.validation_set.size) == (16, 4)
    assert "split off" in first.warnings[0]
    assert Dataset.objects.filter(name="intents").count() == 1
    contents = [
        set(part.examples.values_list("content_hash", flat=True)) for part in (first.dataset, first.validation_set)
    ]
    assert not contents[0] & contents[1]


@pytest.mark.parametrize("optimizer", list(OptimizerName))
def test_what_chooses_by_the_set_that_it_is_judged_on_says_so(erin: User, optimizer: OptimizerName) -> None:
    compiling.matcher()
    validation = make_dataset(erin, 40, type="validation", offset=100)
    job = start(erin, dataset=make_dataset(erin, 40), validation_set=validation, optimizer=optimizer.value)
    choosing = {"bootstrap_few_shot_with_random_search", "mipro_v2", "gepa"}
    assert [f"{optimizer.value} chooses" in warning for warning in job.warnings] == [True] * (optimizer in choosing)
    assert all("test set" in warning for warning in job.warnings)


# Limited


def test_a_budget_covers_everything_and_is_never_exceeded(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url)
    provider.answer(compiling.knowing())
    validation = make_dataset(erin, 6, type="validation", offset=100)
    given: dict[str, Any] = {"dataset": make_dataset(erin, 12), "validation_set": validation, **SEARCH, "params": SMALL}
    least = start(erin, **given, program=make_program(erin)).estimate["calls"][0]
    Optimization.objects.all().update(runtime_version=RUNTIME_VERSION + 1)  # left alone
    job = worked(start(erin, **given, program=make_program(erin), budget=Budget(calls=least)))
    assert (job.state, job.finish_reason) == ("completed", "budget")
    assert len(provider.requests) <= least
    assert job.baseline_evaluation is not None
    assert job.best_evaluation is not None
    assert job.baseline_evaluation.calls + job.calls + job.best_evaluation.calls <= least
    assert job.best_evaluation.done == 6
    assert job.result_program is not None
    assert job.is_better is not None


def test_nothing_found_is_said_plainly(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url)
    provider.answer(lambda body: "[[ ## intent ## ]]\nlogin\n\n[[ ## completed ## ]]")
    only_cards = [item for item in compiling.examples(30) if item["intent"] == "card"]
    training = create_dataset(actor=erin, name="cards", type="training", examples=only_cards)
    given: dict[str, Any] = {
        "dataset": training,
        "validation_set": make_dataset(erin, 6, type="validation", offset=100),
    }
    job = worked(start(erin, **given, optimizer="bootstrap_few_shot", params={"max_labeled_demos": 0}))
    assert (job.state, job.finish_reason, job.is_better, job.result_program) == ("completed", "finished", False, None)
    assert "differs" in job.warnings[-1]
    assert not Program.objects.filter(version=2).exists()


def test_a_model_that_never_answers_fails_the_job(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url)
    provider.script(*[status(500)] * 500)
    validation = make_dataset(erin, 4, type="validation", offset=100)
    job = worked(start(erin, dataset=make_dataset(erin, 6), validation_set=validation, optimizer="bootstrap_few_shot"))
    assert (job.state, job.finish_reason, job.result_program) == ("failed", "failed", None)
    assert job.error_code == "provider_unavailable"
    assert [kind for kind, _used in ledger_of(job)] == ["reserve", "release"]


# Stopped


def test_a_pending_one_is_cancelled_at_once_and_twice_is_no_error(erin: User) -> None:
    compiling.matcher()
    job = start(erin)
    first = cancel_optimization(actor=erin, optimization=job)
    second = cancel_optimization(actor=erin, optimization=job)
    assert (first.state, first.finish_reason, second.state) == ("cancelled", "cancelled", "cancelled")
    assert [kind for kind, _used in ledger_of(job)] == ["reserve", "release"]
    assert worked(job).attempt == 0
    assert not Evaluation.objects.exists()


@pytest.mark.parametrize("phase", ["baseline", "compiling", "judging"])
def test_a_running_one_stops_within_one_call(erin: User, provider: Provider, phase: str) -> None:
    provider.latency_s = 0.4
    compiling.provided(provider.base_url)
    provider.answer(compiling.knowing())
    validation = make_dataset(erin, 130 if phase != "compiling" else 4, type="validation", offset=100)
    many: dict[str, Any] = {"dataset": make_dataset(erin, 12), "validation_set": validation}
    search: dict[str, Any] = {**SEARCH, "params": SMALL} if phase == "compiling" else {"params": {"k": 2}}
    job = start(erin, **many, **search)
    with working():
        eventually(lambda: row_of(job).progress.get("phase") == phase and len(provider.requests) > 0, 30)
        cancel_optimization(actor=erin, optimization=job)
        cancel_optimization(actor=erin, optimization=job)
    ended = row_of(job)
    assert (ended.state, ended.finish_reason) == ("cancelled", "cancelled")
    assert (ended.result_program is not None) is (phase == "judging")
    assert ended.is_better is None
    for evaluation in (ended.baseline_evaluation, ended.best_evaluation):
        assert evaluation is None or evaluation.is_terminal
    asked = len(provider.requests)
    assert worked(job).state == "cancelled"
    assert len(provider.requests) == asked
    assert [kind for kind, _used in ledger_of(job)] in (["reserve", "release"], ["reserve", "settle"])


# Who works on it


def test_a_worker_of_old_code_leaves_jobs_of_newer_code_alone(erin: User) -> None:
    compiling.matcher()
    newer, older = start(erin), start(erin)
    Optimization.objects.filter(pk=newer.pk).update(runtime_version=RUNTIME_VERSION + 1)
    Optimization.objects.filter(pk=older.pk).update(runtime_version=RUNTIME_VERSION - 1)
    assert work_optimizations() == 1
    assert (row_of(newer).state, row_of(newer).attempt) == ("pending", 0)
    assert (row_of(older).state, row_of(older).runtime_version) == ("completed", RUNTIME_VERSION)


def test_a_program_that_was_changed_is_not_compiled_as_another_one(erin: User) -> None:
    compiling.matcher()
    program = make_program(erin, is_submitted=False)
    job = start(erin, program=program)
    update_program(actor=erin, program=program, config={"adapter": "json"})
    ended = worked(job)
    assert (ended.state, ended.error_code, ended.result_program) == ("failed", "program_changed", None)
    assert not Evaluation.objects.exists()


def test_a_candidate_of_a_program_that_was_changed_is_not_adopted(erin: User) -> None:
    compiling.matcher()
    program = make_program(erin, is_submitted=False)
    candidate = worked(start(erin, program=program)).candidates.get()
    assert adopt_candidate(actor=erin, candidate=candidate).version == 3
    update_program(actor=erin, program=program, config={"adapter": "json"})
    with pytest.raises(Conflict) as caught:
        adopt_candidate(actor=erin, candidate=candidate)
    assert caught.value.code == "program_changed"


def test_a_worker_that_lost_its_job_stores_nothing_more(erin: User, provider: Provider) -> None:
    provider.latency_s = 0.05
    compiling.provided(provider.base_url)
    provider.answer(compiling.knowing())
    validation = make_dataset(erin, 4, type="validation", offset=100)
    job = start(erin, dataset=make_dataset(erin, 12), validation_set=validation, **SEARCH, params=SMALL)
    with working():
        eventually(lambda: row_of(job).memo_entries.count() > 0, 30)
        Optimization.objects.filter(pk=job.pk).update(lease_token=new_id())
    lost = row_of(job)
    assert (lost.state, lost.finish_reason, lost.result_program) == ("running", "", None)
    paid = lost.memo_entries.count()
    assert lost.baseline_evaluation is not None
    assert 0 < paid == len(provider.requests) - lost.baseline_evaluation.calls < 20  # but what was paid for

    Optimization.objects.filter(pk=job.pk).update(lease_expires_at="2020-01-01T00:00Z")
    sweep_optimizations()
    before = len(provider.requests)
    ended = worked(job)
    assert (ended.state, ended.finish_reason, ended.attempt) == ("completed", "finished", 2)
    assert ended.best_evaluation is not None
    assert len(provider.requests) - before == ended.calls - paid + ended.best_evaluation.calls


# Protected meanwhile


def test_what_a_job_works_on_stays(erin: User) -> None:
    compiling.matcher()
    program, validation = make_program(erin), make_dataset(erin, 6, type="validation", offset=100)
    job = start(erin, program=program, validation_set=validation)
    with pytest.raises(Conflict) as caught:
        archive_program(actor=erin, program=program)
    assert (caught.value.code, caught.value.extra["optimization"]) == ("program_in_use", str(job.pk))
    calls: list[tuple[Callable[[], None], str]] = [
        (lambda: delete_program(actor=erin, program=program), "program_in_use"),
        (lambda: delete_dataset(actor=erin, dataset=job.dataset), "dataset_in_use"),
        (lambda: delete_dataset(actor=erin, dataset=validation), "dataset_in_use"),
    ]
    for call, code in calls:
        with pytest.raises(Conflict) as caught:
            call()
        assert caught.value.code == code
    cancel_optimization(actor=erin, optimization=job)
    assert archive_program(actor=erin, program=program).status == "archived"


def test_a_draft_that_is_compiled_is_not_deleted(erin: User) -> None:
    compiling.matcher()
    program = make_program(erin, is_submitted=False)
    start(erin, program=program)
    with pytest.raises(Conflict) as caught:
        delete_program(actor=erin, program=program)
    assert caught.value.code == "program_in_use"


def test_an_answer_of_unknown_cost_does_not_make_the_others_free(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url)
    job = start(erin, optimizer="bootstrap_few_shot")
    reserved = -CreditEntry.objects.get(subject_id=job.pk).amount
    for number, cost in enumerate((10**12, None, 10**12)):
        MemoEntry.objects.create(optimization=job, request_hash="x", occurrence=number, response={"cost": cost})
    job.cost = None
    assert credits_used(job) == credits_for(2 * 10**12) > reserved
    MemoEntry.objects.exclude(occurrence=1).delete()
    assert credits_used(job) == reserved > 0


def test_what_the_search_used_is_charged_once(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url)
    provider.answer(compiling.knowing())
    validation = make_dataset(erin, 4, type="validation", offset=100)
    job = worked(start(erin, dataset=make_dataset(erin, 6), validation_set=validation, optimizer="bootstrap_few_shot"))
    (reserve, _none), (settle, used) = ledger_of(job)
    assert (reserve, settle) == ("reserve", "settle")
    assert job.cost is not None
    assert used == credits_for(job.cost) > 0
    assert len(provider.requests) == job.calls + 8
