"""What cannot be stored of an evaluation costs nobody else what is theirs, ends, and is counted all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from executions.models import Evaluation, EvaluationItem
from executions.runtime.evaluate import ItemResult, Spending
from executions.services import run_evaluation_here
from executions.services.evaluations import shards, storing
from executions.services.leases import internal_error
from mlops.models import User
from programs.models import Program
from tests.executions.evaluating import evaluate, numbers, right_answer, tell
from tests.executions.programs import make_program, provided_model
from tests.fakes import fields
from tests.provider import Provider, usage

pytestmark = pytest.mark.django_db(transaction=True)

LARGE = 10**25


@pytest.fixture
def program(provider: Provider, erin: User) -> Program:
    provided_model(provider)
    tell(provider)
    return make_program(actor=erin, name="parity", status="draft")


def batch_of(evaluation: Evaluation, outputs: Sequence[Mapping[str, Any]], **options: Any) -> shards.Batch:
    """These outputs of the first examples, one call and ten tokens each, not stored yet."""
    taken = shards.take(Evaluation.objects.get(pk=evaluation.pk))
    assert taken is not None
    used = {"by_model": {"openai/one": {"input": 10}}}
    done = [
        shards.Done(task, ItemResult(output, {}, {}, None, Spending(1, 10, 5, 0), 5, used, 1.0, None), timezone.now())
        for task, output in zip(taken.tasks, outputs, strict=False)
    ]
    tokens = {taken.shard.pk: taken.shard.lease_token}
    return shards.Batch(evaluation.pk, tokens, done, Spending(calls=3), frozenset(), 2.0, **options)


@pytest.mark.parametrize("bad", [[5], [0, 1], [15], list(range(16))])
def test_items_that_cannot_be_stored_lose_their_content_and_no_others(
    bad: list[int], program: Program, erin: User
) -> None:
    evaluation = evaluate(erin, program, 16)
    outputs = [{"answer": Decimal(n) if n in bad else str(n)} for n in range(16)]

    standing = storing.stored(batch_of(evaluation, outputs, ending=shards.Ending.HAND_BACK))

    items = list(EvaluationItem.objects.filter(evaluation=evaluation).order_by("position"))
    assert [item.output for item in items] == [None if n in bad else {"answer": str(n)} for n in range(16)]
    assert [item.error_code for item in items] == ["internal_error" if n in bad else "" for n in range(16)]
    assert {(item.calls, item.total_tokens, item.cost) for item in items} == {(1, 10, 5)}
    row = Evaluation.objects.get(pk=evaluation.pk)
    assert (row.done, row.errors, row.calls, row.total_tokens, row.cost) == (16, len(bad), 16 + 3, 160, 80)
    assert row.token_usage["total"] == 160
    assert 1.9 < row.seconds <= 2.0
    assert (standing.held, row.shards.get().state) == (frozenset(), "pending")


def test_numbers_of_any_size_are_evaluated_like_others(provider: Provider, erin: User) -> None:
    provided_model(provider)
    counting = make_program(actor=erin, name="counting", status="draft", shorthand="n: int -> count: int")
    provider.answer(lambda body: fields(count=LARGE))
    dataset = numbers(erin, 0, examples=[{"n": 2**64 + n, "count": LARGE} for n in range(5)])
    same = right_answer(erin, config={"field": "count"})

    row = run_evaluation_here(evaluate(erin, counting, dataset=dataset, metrics=[same]))

    assert (row.state, row.done, row.errors, len(provider.requests)) == ("completed", 5, 0, 5)
    item = row.items.get(position=0)
    assert (item.output, item.scores) == ({"count": LARGE}, {same.name: 1.0})
    assert str(LARGE) in item.feedback[same.name]
    assert str(LARGE) in str(item.trace)


def test_the_words_of_a_metric_that_fails_can_be_stored(program: Program, erin: User, settings: Any) -> None:
    settings.SIGNET_METRICS = {"broken": "tests.executions.faulty_metrics:fails_unstorably"}
    broken = right_answer(erin, kind="code", config={"function": "broken"})

    row = run_evaluation_here(evaluate(erin, program, 3, metrics=[broken]))

    item = row.items.get(position=0)
    assert (item.error_code, item.output) == ("metric_failed", {"answer": "even"})
    assert item.error_message.startswith("no\N{REPLACEMENT CHARACTER} score\N{REPLACEMENT CHARACTER}..")
    assert len(item.error_message) == 10_000


def test_an_evaluation_whose_figures_cannot_be_stored_fails_and_is_not_paid_for_again(
    provider: Provider, program: Program, erin: User
) -> None:
    evaluation = evaluate(erin, program, 60, concurrency=2)
    provider.latency_s = 0.02
    provider.script(*[usage(100, 5)] * 10, usage(10**19, 5))

    row = run_evaluation_here(evaluation)

    assert (row.state, row.finish_reason, row.error_code) == ("failed", "failed", "internal_error")
    assert set(row.shards.values_list("state", flat=True)) <= {"completed", "cancelled"}
    requests = len(provider.requests)
    assert run_evaluation_here(row).state == "failed"
    assert len(provider.requests) == requests < 60


def test_what_a_lost_worker_gives_back_is_not_started_when_the_end_has_begun(
    provider: Provider, program: Program, erin: User
) -> None:
    evaluation = evaluate(erin, program, 60)
    taken = shards.take(Evaluation.objects.get(pk=evaluation.pk))
    assert taken is not None
    shards.give_up(evaluation.pk, internal_error())
    taken.shard.hand_back()
    taken.shard.save()

    row = run_evaluation_here(evaluation)

    assert (row.state, row.error_code, row.done) == ("failed", "internal_error", 0)
    assert not provider.requests
