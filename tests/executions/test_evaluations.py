"""Evaluations: every example once, scored, counted, summed up, whatever stops or resumes them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from datasets.models import Dataset
from datasets.services import update_dataset
from executions.models import Evaluation, EvaluationItem, EvaluationShard, Metric
from executions.runtime.comparison import mean_of
from executions.runtime.evaluate import ItemResult, Spending
from executions.services import cancel_evaluation, evaluate_program, process, run_evaluation_here
from executions.services.evaluations import shards, sweep_evaluations, wake
from executions.types import Budget
from mlops.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance
from mlops.services.credits import credits_for
from mlops.types import Role
from programs.models import Program
from tests.executions.evaluating import answer_of, asked, evaluate, numbers, right_answer, tell
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.fakes import fields
from tests.installation import eventually
from tests.provider import Provider, hang, status, text, usage
from tests.provider.server import Exchange

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def program(provider: Provider, erin: User) -> Program:
    provided_model(provider)
    tell(provider)
    return make_program(actor=erin, name="parity", status="draft")


def fresh(evaluation: Evaluation) -> Evaluation:
    row: Evaluation = Evaluation.objects.get(pk=evaluation.pk)
    return row


def state(evaluation: Evaluation) -> str:
    return str(fresh(evaluation).state)


def refused(error: type[DomainError], code: str, call: Any, **arguments: Any) -> DomainError:
    with pytest.raises(error) as refusal:
        call(**arguments)
    assert refusal.value.code == code
    return refusal.value


def judged(actor: User) -> Metric:
    """A metric that asks a program how good an answer is."""
    judge = make_program(
        name="judge", status="testing", shorthand="answer: str -> score: float, feedback: str", actor=actor
    )
    config = {"inputs": {"answer": "output.answer"}, "score": "score", "feedback": "feedback"}
    return right_answer(actor, kind="judge", config=config, judge_program=judge)


async def answered(exchange: Exchange) -> None:
    exchange.answer()


# To the end


def test_every_example_is_scored_once_and_the_sum_is_what_direct_calculation_gives(
    provider: Provider, program: Program, erin: User
) -> None:
    evaluation = evaluate(erin, program, 100)
    assert (evaluation.state, evaluation.shards.count()) == ("pending", 4)

    row = run_evaluation_here(evaluation)

    assert (row.state, row.finish_reason) == ("completed", "finished")
    assert sorted(asked(provider)) == list(range(100))
    items = list(EvaluationItem.objects.filter(evaluation=row).order_by("position"))
    assert [item.position for item in items] == list(range(100))
    assert [item.output for item in items] == [{"answer": answer_of(number)} for number in range(100)]
    metric = row.metrics.get()
    right = [float(answer_of(number) == ("odd" if number % 2 else "even")) for number in range(100)]
    assert [item.scores for item in items] == [{metric.name: value} for value in right]
    assert all(item.feedback[metric.name] for item in items)
    assert all(item.trace is not None and len(item.trace["spans"]) == 2 for item in items)
    score, direct = row.scores.get(), mean_of(right)
    assert (score.mean, score.low, score.high, score.n) == (direct.mean, direct.low, direct.high, 100)
    assert (score.errors, score.majority_baseline) == (0, 0.5)
    assert (row.done, row.errors, row.calls, row.unpriced) == (100, 0, 100, 0)
    assert row.total_tokens == sum(item.total_tokens for item in items) == row.token_usage["total"]
    assert row.cost == sum(item.cost or 0 for item in items) > 0
    assert 0 < row.seconds < 30
    assert set(row.shards.values_list("state", flat=True)) == {"completed"}
    assert row.dataset.frozen_at is not None
    assert metric.frozen_at is not None


def test_what_was_scored_is_noted_on_the_program_and_its_prompts(program: Program, erin: User) -> None:
    row = run_evaluation_here(evaluate(erin, program, 20))

    program = Program.objects.get(pk=program.pk)
    noted = program.metrics[str(row.dataset)][str(row.metrics.get())]
    assert (noted["mean"], noted["n"], noted["evaluation"]) == (0.9, 20, str(row.pk))
    (version,) = row.prompt_set.versions.all()
    assert version.performance_metrics == program.metrics


def test_an_evaluation_is_metered_and_its_reservation_ends(program: Program, erin: User) -> None:
    evaluation = evaluate(erin, program, 10)
    reserved = CreditEntry.objects.get(key=f"evaluation:{evaluation.pk}")
    assert reserved.amount < 0

    row = run_evaluation_here(evaluation)

    end = CreditEntry.objects.get(key=f"end:evaluation:{row.pk}")
    assert end.used == credits_for(row.cost) > 0
    assert proven_balance(erin) == -end.used


def test_a_doorbell_makes_this_process_work_and_a_second_one_changes_nothing(
    provider: Provider, program: Program, erin: User
) -> None:
    first, second = evaluate(erin, program, 40), evaluate(erin, program, 10)
    wake()
    wake()
    eventually(lambda: (state(first), state(second)) == ("completed", "completed"))
    assert len(provider.requests) == 50


# Errors


def test_an_error_of_the_program_is_a_gap_and_no_zero(provider: Provider, program: Program, erin: User) -> None:
    evaluation = evaluate(erin, program, 20, concurrency=1)
    provider.script(status(400), text("[[ ## something ## ]]\nelse"), text("nor this"))

    row = run_evaluation_here(evaluation)

    assert (row.state, row.finish_reason, row.done, row.errors) == ("completed", "finished", 20, 2)
    failed = EvaluationItem.objects.filter(evaluation=row).exclude(error_code="").order_by("position")
    assert [(item.position, item.error_code, item.scores) for item in failed] == [
        (0, "invalid_request", {}),
        (1, "unparsable_output", {}),
    ]
    score = row.scores.get()
    assert (score.n, score.errors, score.mean) == (18, 2, 16 / 18)


def test_all_examples_in_error_are_an_end_too(provider: Provider, program: Program, erin: User) -> None:
    provider.answer("no field at all")
    row = run_evaluation_here(evaluate(erin, program, 5))
    score = row.scores.get()
    assert (row.state, row.errors, score.n, score.errors) == ("completed", 5, 0, 5)
    assert (score.mean, score.low, score.high, score.majority_baseline) == (None, None, None, None)
    program = Program.objects.get(pk=program.pk)
    assert program.metrics == {}


def test_examples_without_the_input_become_errors_and_ask_no_model(
    provider: Provider, program: Program, erin: User
) -> None:
    examples = [{"question": f"Is number {n} even?", "answer": "even"} for n in range(9)] + [{"answer": "even"}]
    row = run_evaluation_here(evaluate(erin, program, dataset=numbers(erin, 0, examples=examples)))
    assert (row.done, row.errors, len(provider.requests)) == (10, 1, 9)
    assert EvaluationItem.objects.get(evaluation=row, position=9).error_code == "invalid_input"


RAISED = "tests.executions.faulty_metrics:"


@pytest.mark.parametrize("fault", ["raises", "says_nothing", "says_a_word", "says_nan", "hangs"])
def test_a_metric_that_fails_leaves_the_item_without_its_score(
    fault: str, program: Program, erin: User, settings: Any
) -> None:
    settings.SIGNET_METRICS = {fault: f"{RAISED}{fault}"}
    broken = right_answer(erin, kind="code", config={"function": fault})
    sound = right_answer(erin)

    row = run_evaluation_here(evaluate(erin, program, 10, metrics=[broken, sound]))

    assert (row.state, row.done, row.errors) == ("completed", 10, 10)
    item = EvaluationItem.objects.get(evaluation=row, position=0)
    assert item.error_code == "metric_failed"
    assert (set(item.scores), item.output) == ({sound.name}, {"answer": "even"})
    of_broken, of_sound = row.scores.order_by("position")
    assert (of_broken.n, of_broken.errors, of_broken.mean) == (0, 10, None)
    assert (of_sound.n, of_sound.errors) == (10, 0)


# Before the start


def test_who_may_evaluate(program: Program, erin: User, alice: User) -> None:
    dataset, metric = numbers(erin, 5), right_answer(erin)
    asked_for = {"program": program, "dataset": dataset, "metrics": [metric]}
    refused(NotFound, "program_not_found", evaluate_program, actor=alice, **asked_for)
    deployed = make_program(name="deployed", status="production")
    refused(
        Forbidden, "program_evaluate_forbidden", evaluate_program, actor=alice, **{**asked_for, "program": deployed}
    )
    deployed.group = Group.objects.create(name="insiders")
    deployed.save()
    refused(NotFound, "program_not_found", evaluate_program, actor=erin, **{**asked_for, "program": deployed})
    assert not Evaluation.objects.exists()
    assert Dataset.objects.get(pk=dataset.pk).frozen_at is None


def test_what_belongs_to_a_group_is_unknown_outside_of_it(program: Program, erin: User) -> None:
    evaluation = evaluate(erin, program, 5)
    program.group = Group.objects.create(name="insiders")
    program.save()
    for rows in (Evaluation, EvaluationItem, EvaluationShard):
        assert not rows.objects.visible_to(erin).exists()
    refused(NotFound, "evaluation_not_found", cancel_evaluation, actor=erin, evaluation=fresh(evaluation))
    program.group.user_set.add(erin)
    assert Evaluation.objects.visible_to(erin).get() == evaluation


@pytest.mark.parametrize(
    ("options", "error", "code", "field"),
    [
        ({"metrics": []}, Invalid, "evaluation_invalid", "metrics"),
        ({"concurrency": 0}, Invalid, "evaluation_invalid", "concurrency"),
        ({"concurrency": True}, Invalid, "evaluation_invalid", "concurrency"),
        ({"concurrency": 257}, Invalid, "evaluation_invalid", "concurrency"),
        ({"budget": {"calls": -1}}, Invalid, "budget_invalid", "budget.calls"),
        ({"budget": {"calls": 1.5}}, Invalid, "budget_invalid", "budget.calls"),
        ({"budget": {"calls": 10**400}}, Invalid, "budget_invalid", "budget.calls"),
        ({"budget": {"seconds": float("nan")}}, Invalid, "budget_invalid", "budget.seconds"),
        ({"budget": {"money": 1}}, Invalid, "budget_invalid", "budget.money"),
        ({"budget": {"calls": 0}}, Invalid, "budget_too_small", "budget.calls"),
        ({"budget": {"calls": 1}}, Invalid, "budget_too_small", "budget.calls"),
        ({"budget": Budget(tokens=3)}, Invalid, "budget_too_small", "budget.tokens"),
        ({"budget": Budget(cost=1)}, Invalid, "budget_too_small", "budget.cost"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_anything_is_paid(
    options: dict[str, Any], error: type[DomainError], code: str, field: str, program: Program, erin: User
) -> None:
    refusal = refused(error, code, evaluate, actor=erin, program=program, size=5, **options)
    assert refusal.field == field
    if code == "budget_too_small":
        assert "it needs at least" in refusal.message
    assert not Evaluation.objects.exists()
    assert not CreditEntry.objects.filter(user=erin).exists()


def test_examples_that_do_not_fit_are_refused(program: Program, erin: User) -> None:
    other = numbers(erin, 0, examples=[{"message": "hello", "answer": "x"}])
    refusal = refused(Invalid, "dataset_does_not_fit", evaluate, actor=erin, program=program, dataset=other)
    assert [problem.field for problem in refusal.problems] == ["dataset.question"]
    unlabelled = numbers(erin, 0, examples=[{"question": "Is number 1 even?"}])
    refusal = refused(Invalid, "dataset_does_not_fit", evaluate, actor=erin, program=program, dataset=unlabelled)
    assert [problem.field for problem in refusal.problems] == ["metrics"]


def test_a_dataset_that_was_changed_since_it_was_read_is_neither_evaluated_nor_frozen(
    provider: Provider, program: Program, erin: User
) -> None:
    dataset = numbers(erin, 3)
    fewer = [{"question": "Is number 1 even?", "answer": "odd"}]
    update_dataset(actor=erin, dataset=Dataset.objects.get(pk=dataset.pk), examples=fewer)

    refused(Conflict, "dataset_changed", evaluate, actor=erin, program=program, dataset=dataset)

    assert not Evaluation.objects.exists()
    assert not CreditEntry.objects.exists()
    assert Dataset.objects.get(pk=dataset.pk).frozen_at is None
    row = run_evaluation_here(evaluate(erin, program, dataset=Dataset.objects.get(pk=dataset.pk)))
    assert (row.size, row.done, len(provider.requests)) == (1, 1, 1)


def test_a_cost_that_nobody_can_tell_has_no_budget(provider: Provider, erin: User) -> None:
    provided_model(provider, price=None)
    program = make_program(actor=erin, name="parity", status="draft")
    refused(DomainError, "price_unknown", evaluate, actor=erin, program=program, size=5, budget={"cost": 10**12})
    tell(provider)
    row = run_evaluation_here(evaluate(erin, program, 5))
    assert (row.cost, row.unpriced, row.estimate["cost"]) == (0, 5, None)
    assert EvaluationItem.objects.filter(evaluation=row, cost=None).count() == 5


def test_an_item_of_unknown_cost_is_charged_its_share_of_the_reservation(provider: Provider, erin: User) -> None:
    provided_model(provider, price={"input_limit": 5_000})
    program = make_program(actor=erin, name="parity", status="draft")
    tell(provider)
    provider.script(usage(5_001, 10))
    evaluation = evaluate(erin, program, 5)
    reserved = -CreditEntry.objects.get(key=f"evaluation:{evaluation.pk}").amount

    row = run_evaluation_here(evaluation)

    costs = list(EvaluationItem.objects.filter(evaluation=row).values_list("cost", flat=True))
    assert (row.unpriced, costs.count(None)) == (1, 1)
    assert row.cost == sum(cost for cost in costs if cost is not None) > 0
    share = -(-reserved // 5)
    end = CreditEntry.objects.get(key=f"end:evaluation:{row.pk}")
    assert end.used == min(credits_for(row.cost) + share, reserved) > share > 0


def test_a_limited_engineer_needs_the_credits(program: Program) -> None:
    poor = make_user(Role.ML_ENGINEER.value, has_hard_limit=True)
    refused(DomainError, "insufficient_credits", evaluate, actor=poor, program=program, size=5)


def test_a_draft_that_is_changed_meanwhile_fails(provider: Provider, program: Program, erin: User) -> None:
    evaluation = evaluate(erin, program, 5)
    Evaluation.objects.filter(pk=evaluation.pk).update(spec_digest="another")
    row = run_evaluation_here(evaluation)
    assert (row.state, row.finish_reason, row.error_code) == ("failed", "failed", "program_changed")
    assert not provider.requests
    assert proven_balance(erin) == 0
    assert set(row.shards.values_list("state", flat=True)) == {"cancelled"}


# The estimate


def test_an_estimate_learns_from_what_was_evaluated(program: Program, erin: User) -> None:
    first = evaluate(erin, program, 40)
    assert first.estimate["basis"] == "limits"
    done = run_evaluation_here(first)
    second = evaluate(erin, program, 80)
    assert (second.estimate["basis"], second.estimate["samples"]) == ("history", 40)
    for name, actual in (("calls", done.calls), ("tokens", done.total_tokens), ("cost", done.cost)):
        low, high = second.estimate[name]
        assert low <= 2 * actual <= high <= 2.5 * actual, name


# Budgets


@pytest.mark.parametrize(("limit", "column"), [("tokens", "total_tokens"), ("calls", "calls"), ("cost", "cost")])
def test_a_budget_ends_an_evaluation_and_all_says_so(
    limit: str, column: str, provider: Provider, program: Program, erin: User
) -> None:
    of_one = getattr(run_evaluation_here(evaluate(erin, program, 5)), column) // 5
    EvaluationItem.objects.update(**{column: 0})  # the past was cheaper
    provider.script()
    requests = len(provider.requests)

    row = run_evaluation_here(evaluate(erin, program, 100, budget={limit: of_one * 12}, concurrency=4))

    assert (row.state, row.finish_reason) == ("completed", "budget")
    assert 12 <= row.done <= 16
    assert len(provider.requests) - requests == row.done == row.items.count() == row.scores.get().n
    assert set(row.shards.values_list("state", flat=True)) == {"completed", "cancelled"}
    program = Program.objects.get(pk=program.pk)
    assert str(row.dataset) not in program.metrics  # scored in part


def test_calls_of_a_judge_are_within_the_budget(provider: Provider, program: Program, erin: User) -> None:
    rating = judged(erin)
    provider.answer(lambda body: fields(answer="even", score=0.25, feedback="meh"))
    run_evaluation_here(evaluate(erin, program, 5, metrics=[rating]))
    EvaluationItem.objects.update(calls=0)
    requests = len(provider.requests)

    row = run_evaluation_here(evaluate(erin, program, 100, metrics=[rating], budget={"calls": 120}, concurrency=4))

    assert (row.state, row.finish_reason) == ("completed", "budget")
    assert 120 <= row.calls == len(provider.requests) - requests <= 120 + 4 * 2
    assert row.done == row.calls // 2


def test_a_budget_of_no_money_is_enough_for_a_model_that_costs_nothing(provider: Provider, erin: User) -> None:
    provided_model(provider, price={"input_price": 0, "cached_input_price": 0, "output_price": 0})
    tell(provider)
    program = make_program(actor=erin, name="parity", status="draft")
    row = run_evaluation_here(evaluate(erin, program, 10, budget={"cost": 0}))
    assert (row.finish_reason, row.done, row.calls, row.cost) == ("finished", 10, 10, 0)


def test_a_budget_of_exactly_what_is_needed_finishes(program: Program, erin: User) -> None:
    row = run_evaluation_here(evaluate(erin, program, 40, budget={"calls": 40}))
    assert (row.finish_reason, row.done, row.calls) == ("finished", 40, 40)


def test_time_that_runs_out(provider: Provider, program: Program, erin: User) -> None:
    provider.latency_s = 0.2
    row = run_evaluation_here(evaluate(erin, program, 60, budget={"seconds": 0.5}, concurrency=2))
    assert (row.state, row.finish_reason) == ("completed", "deadline")
    assert 2 <= row.done <= 10


# Stopped and resumed


def test_work_that_is_handed_back_goes_on_and_pays_nothing_twice(
    provider: Provider, program: Program, erin: User
) -> None:
    provider.latency_s = 0.02
    evaluation = evaluate(erin, program, 200, concurrency=8)

    stopped = run_evaluation_here(evaluation, should_stop=lambda: fresh(evaluation).done > 40)

    assert stopped.state == "running"
    assert 40 < stopped.done < 200
    assert not EvaluationShard.objects.filter(evaluation=evaluation, state="running").exists()
    row = run_evaluation_here(evaluation)
    assert (row.state, row.done, row.calls) == ("completed", 200, 200)
    assert sorted(asked(provider)) == list(range(200))


def test_a_lost_lease_discards_what_is_in_flight_and_nothing_else(
    provider: Provider, program: Program, erin: User
) -> None:
    evaluation = evaluate(erin, program, 32)
    taken = shards.take(fresh(evaluation))
    assert taken is not None
    EvaluationShard.objects.update(lease_expires_at=timezone.now())
    sweep_evaluations()
    assert EvaluationShard.objects.get().state == "pending"

    row = run_evaluation_here(evaluation)

    assert (row.state, row.done, EvaluationShard.objects.get().attempt) == ("completed", 32, 2)
    late = shards.Batch(row.pk, {taken.shard.pk: taken.shard.lease_token}, [], Spending(calls=7), frozenset(), 1.0)
    assert shards.store(late).ending is shards.Ending.LOST
    assert fresh(row).calls == 32


def test_a_repeated_commit_stores_and_counts_once(provider: Provider, program: Program, erin: User) -> None:
    evaluation = evaluate(erin, program, 3)
    taken = shards.take(fresh(evaluation))
    assert taken is not None
    result = ItemResult({"answer": "even"}, {}, {}, None, Spending(1, 10, 5, 0), 5, {}, 1.0, None)
    done = [shards.Done(task, result, timezone.now()) for task in taken.tasks[:2]]
    batch = shards.Batch(evaluation.pk, {taken.shard.pk: taken.shard.lease_token}, done, Spending(), frozenset(), 0.1)
    shards.store(batch)
    standing = shards.store(batch)
    assert standing.held == {taken.shard.pk}
    assert (fresh(evaluation).done, fresh(evaluation).calls, evaluation.items.count()) == (2, 2, 2)


# Cancelled


def test_a_pending_evaluation_is_cancelled_at_once(provider: Provider, program: Program, erin: User) -> None:
    evaluation = evaluate(erin, program, 40)
    row = cancel_evaluation(actor=erin, evaluation=evaluation)
    assert (row.state, row.finish_reason, row.done) == ("cancelled", "cancelled", 0)
    again = cancel_evaluation(actor=erin, evaluation=row)
    assert again.state == "cancelled"
    assert run_evaluation_here(row).state == "cancelled"
    assert not provider.requests
    assert proven_balance(erin) == 0
    assert CreditEntry.objects.filter(key=f"end:evaluation:{row.pk}").count() == 1


def test_a_running_evaluation_stops_within_one_call(provider: Provider, program: Program, erin: User) -> None:
    evaluation = evaluate(erin, program, 100, concurrency=4)
    provider.script(*[answered] * 40, *[hang()] * 60)
    wake()
    eventually(lambda: fresh(evaluation).done == 40)
    eventually(lambda: provider.in_flight == 4)

    asked_for = cancel_evaluation(actor=erin, evaluation=fresh(evaluation))
    again = cancel_evaluation(actor=erin, evaluation=fresh(evaluation))

    assert (asked_for.state, again.state) in {("running", "running"), ("running", "cancelled")}
    eventually(lambda: state(evaluation) == "cancelled", within_s=3)
    eventually(lambda: provider.in_flight == 0)
    row = fresh(evaluation)
    assert row.finish_reason == "cancelled"
    assert row.done == row.items.count() == row.scores.get().n == 40
    assert row.scores.get().mean is not None
    assert set(row.shards.values_list("state", flat=True)) <= {"completed", "cancelled"}


def test_what_has_ended_cannot_be_cancelled(program: Program, erin: User) -> None:
    row = run_evaluation_here(evaluate(erin, program, 5))
    refused(Conflict, "evaluation_not_cancellable", cancel_evaluation, actor=erin, evaluation=row)
    assert state(row) == "completed"


def test_a_cancellation_that_comes_too_late_changes_nothing(program: Program, erin: User) -> None:
    """All is scored, only the sum is missing."""
    row = run_evaluation_here(evaluate(erin, program, 5))
    Evaluation.objects.filter(pk=row.pk).update(state="running", cancel_requested_at=timezone.now(), finish_reason="")
    CreditEntry.objects.filter(key=f"end:evaluation:{row.pk}").delete()
    sweep_evaluations()
    row = fresh(row)
    assert (row.state, row.finish_reason) == ("completed", "finished")


def test_a_worker_that_stops_hands_its_shards_back(provider: Provider, program: Program, erin: User) -> None:
    evaluation = evaluate(erin, program, 100, concurrency=4)
    provider.latency_s = 0.05
    wake()
    eventually(lambda: fresh(evaluation).done > 8)
    process.stop_thread()
    row = fresh(evaluation)
    assert (row.state, row.done < 100) == ("running", True)
    assert set(row.shards.values_list("state", flat=True)) <= {"completed", "pending"}
    assert len(provider.requests) == row.done == row.items.count()  # what ran was let end
    row = run_evaluation_here(evaluation)
    assert (row.done, len(provider.requests)) == (100, 100)


# What is kept


@pytest.mark.parametrize(("capture", "of_answers", "of_errors"), [("errors", False, True), ("none", False, False)])
def test_a_program_says_what_is_kept_of_its_examples(
    capture: str, of_answers: bool, of_errors: bool, provider: Provider, erin: User
) -> None:
    provided_model(provider)
    tell(provider)
    program = make_program(actor=erin, name="parity", status="draft", config={"capture": capture})
    provider.script(status(400))

    row = run_evaluation_here(evaluate(erin, program, 3, concurrency=1))

    failed, answered, _other = row.items.order_by("position")
    for item, is_kept in ((failed, of_errors), (answered, of_answers)):
        assert item.trace is not None
        assert bool(item.trace["spans"]) is is_kept
    assert (answered.output, answered.feedback) == (None, {})
    assert answered.scores == {row.metrics.get().name: 1.0}
    assert row.scores.get().n == 2


def test_a_judge_is_metered_beside_the_program(provider: Provider, program: Program, erin: User) -> None:
    rating = judged(erin)
    provider.answer(lambda body: fields(answer="even", score=0.25, feedback="meh"))

    row = run_evaluation_here(evaluate(erin, program, 5, metrics=[rating]))

    assert (row.state, row.errors, row.calls, len(provider.requests)) == ("completed", 0, 10, 10)
    item = row.items.get(position=0)
    assert (item.calls, item.scores) == (2, {rating.name: 0.25})
    assert item.feedback[rating.name].endswith("meh")
    of_metrics = item.token_usage["metrics"]
    assert 0 < of_metrics["cost"] < (item.cost or 0)
    assert 0 < of_metrics["total"] < item.total_tokens
    assert [span["kind"] for span in (item.trace or {})["spans"]] == ["module", "llm", "module", "llm"]
    assert row.estimate["calls"] == [10, 10]


def test_a_judge_that_answers_garbage_is_an_error_of_the_metric(
    provider: Provider, program: Program, erin: User
) -> None:
    judge = make_program(name="judge", status="testing", shorthand="answer: str -> score: float", actor=erin)
    config = {"inputs": {"answer": "output.answer"}, "score": "score"}
    rating = right_answer(erin, kind="judge", config=config, judge_program=judge)
    provider.answer(lambda body: fields(answer="even", score="very good"))

    row = run_evaluation_here(evaluate(erin, program, 3, metrics=[rating]))

    assert (row.state, row.errors, row.scores.get().mean) == ("completed", 3, None)
    item = row.items.get(position=0)
    assert (item.error_code, item.output, item.scores) == ("metric_failed", {"answer": "even"}, {})
    assert row.calls == len(provider.requests) > 3
