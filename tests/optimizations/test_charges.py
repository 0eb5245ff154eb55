"""What a compile costs is all that its search was billed, whichever attempt paid for it and however the job ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection
from django.utils import timezone

from executions.services import process
from mlops.models import BudgetPeriod, CreditEntry, User
from mlops.models.base import new_id
from mlops.services.credits import credits_for
from mlops.services.jobs import MAX_IDLE_ATTEMPTS, Held, claim
from mlops.types import TokenUsage
from optimizations.models import Optimization
from optimizations.runtime.guard import Spent
from optimizations.services import cancel_optimization
from optimizations.services.ending import spent_by
from optimizations.services.records import Records
from optimizations.services.results import refuse_changed
from optimizations.services.spending import Spending
from optimizations.services.working import sweep_optimizations, work_optimizations
from tests.installation import eventually
from tests.mlops.budgets.making import make_budget
from tests.optimizations import compiling
from tests.optimizations.compiling import make_dataset, start, worked
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

ENOUGH = 4


def row_of(job: Optimization) -> Optimization:
    return Optimization.objects.get(pk=job.pk)


def interrupted(erin: User, provider: Provider) -> Optimization:
    """A pending compile whose first worker was lost in the search, after it had paid for some calls."""
    provider.latency_s = 0.03
    compiling.provided(provider.base_url)
    provider.answer(compiling.knowing())
    validation = make_dataset(erin, 4, type="validation", offset=100)
    params = {"num_candidate_programs": 2, "max_bootstrapped_demos": 2, "max_labeled_demos": 2}
    job = start(
        erin, dataset=make_dataset(erin, 12), validation_set=validation,
        optimizer="bootstrap_few_shot_with_random_search", params=params,
    )  # fmt: skip

    def work() -> None:
        try:
            work_optimizations()
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    eventually(lambda: job.memo_entries.count() >= ENOUGH, 30)
    Optimization.objects.filter(pk=job.pk).update(lease_token=new_id(), lease_expires_at=timezone.now())
    worker.join(30)
    assert not worker.is_alive()
    sweep_optimizations()
    assert row_of(job).state == "pending"
    return row_of(job)


def cancelled(job: Optimization) -> None:
    cancel_optimization(actor=job.user, optimization=job)


def lost_too_often(job: Optimization) -> None:
    assert claim(Optimization.objects.filter(pk=job.pk)) is not None
    lost = {"lease_expires_at": timezone.now(), "idle_attempts": MAX_IDLE_ATTEMPTS}
    Optimization.objects.filter(pk=job.pk).update(**lost)
    sweep_optimizations()


def out_of_budget_before_it_asks_again(job: Optimization) -> None:
    make_budget(limit=0)
    worked(job)


@pytest.mark.parametrize(
    ("end", "reason"),
    [(cancelled, "cancelled"), (lost_too_often, "failed"), (out_of_budget_before_it_asks_again, "budget")],
)
def test_what_an_earlier_attempt_paid_for_is_charged(
    erin: User, provider: Provider, end: Callable[[Optimization], None], reason: str
) -> None:
    job = interrupted(erin, provider)
    assert job.baseline_evaluation is not None
    paid = len(provider.requests) - job.baseline_evaluation.calls
    costs = [response["cost"] for response in job.memo_entries.values_list("response", flat=True)]
    assert len(costs) == paid >= ENOUGH  # also what was under way when the worker lost the job

    end(job)

    ended = row_of(job)
    assert (ended.finish_reason, len(provider.requests)) == (reason, job.baseline_evaluation.calls + paid)
    assert (ended.calls, ended.cost) == (paid, sum(costs))
    assert ended.token_usage["total"] == ended.total_tokens > 0
    assert sum(usage["total"] for usage in ended.token_usage["by_model"].values()) == ended.total_tokens
    settled = CreditEntry.objects.get(subject_id=job.pk, kind="settle")
    assert settled.used == credits_for(sum(costs)) > 0


def test_a_resumed_search_tells_of_all_that_was_paid_for_from_its_first_word(erin: User, provider: Provider) -> None:
    job = interrupted(erin, provider)
    paid = job.memo_entries.count()
    plan = refuse_changed(job)
    taken = claim(Optimization.objects.filter(pk=job.pk))
    assert taken is not None
    held = Held(taken)
    with Records(held, Spending(taken, plan)) as records:
        records.ports().on_progress(compiling.progress(calls=1, cost=1, tokens=1))
    row = row_of(job)
    assert (row.calls, row.progress["calls"], row.cost) == (paid, paid, spent_by(row).cost)
    assert row.idle_attempts == 1  # to begin again is not to get on


def stored(answer: str, cost: int | None) -> dict[str, Any]:
    usage = {"input": 3, "output": 1, "cached": 0, "reasoning": 0}
    return {"response": answer, "calls": 1, "usage": {"openai/dear": usage}, "cost": cost}


@contextmanager
def held_job(erin: User) -> Iterator[tuple[Held[Optimization], Spending]]:
    compiling.matcher()
    job = start(erin)
    taken = claim(Optimization.objects.filter(pk=job.pk))
    assert taken is not None
    yield Held(taken), Spending(taken, refuse_changed(job))


def test_an_answer_that_two_workers_paid_for_is_charged_twice_and_given_once(erin: User) -> None:
    with held_job(erin) as (held, spending):
        job = held.job
        with Records(held, spending) as first, Records(held, spending) as second:
            first.ports().memo_put("a" * 64, 0, stored("the first", 5))
            second.ports().memo_put("a" * 64, 0, stored("the second", 7))
        with Records(held, spending) as later:
            given = later.ports().memo_get("a" * 64, 0)
            assert later.ports().memo_get("a" * 64, 1) is None
    assert given is not None
    assert given["response"] == "the first"
    assert spent_by(job) == Spent(2, {"openai/dear": TokenUsage(input=6, output=2)}, 12)


def test_of_answers_that_come_together_each_is_stored_and_those_of_another_worker_stay(erin: User) -> None:
    names = [(f"{number:064}", 0) for number in range(80)]
    with held_job(erin) as (held, spending):
        job = held.job
        with Records(held, spending) as first, Records(held, spending) as second:
            for name in names[::10]:
                second.ports().memo_put(*name, stored("the other's", 7))
            put = first.ports().memo_put
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda name: put(name[0], name[1], stored("ours", 5)), names))
    kept = {(entry.request_hash, entry.occurrence): entry.response["response"] for entry in job.memo_entries.all()}
    assert [kept.pop(name) for name in names] == ["the other's" if n % 10 == 0 else "ours" for n in range(80)]
    assert list(kept.values()) == ["ours"] * 8
    assert spent_by(job) == Spent(88, {"openai/dear": TokenUsage(input=264, output=88)}, 80 * 5 + 8 * 7)


def test_costs_that_could_not_be_told_to_the_budgets_are_told_later(erin: User) -> None:
    make_budget(limit=10**15)
    with held_job(erin) as (_held, spending):
        spending.paid(stored("first", 5))
        with without_budgets(), pytest.raises((OperationalError, ProgrammingError)):
            spending.tell()
        spending.paid(stored("second", 7))
        spending.tell()
        spending.tell()
    process.stop_thread()
    assert BudgetPeriod.objects.get().spent == 12


@contextmanager
def without_budgets() -> Iterator[None]:
    """As if the database did not answer when it is asked for budgets."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mlops_budget RENAME TO mlops_budget_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE mlops_budget_away RENAME TO mlops_budget")
