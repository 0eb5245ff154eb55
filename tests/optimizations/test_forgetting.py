"""Answers that a compile has paid for are kept while it may be resumed, and some days longer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from mlops.models import User
from optimizations.models import MemoEntry, Optimization
from optimizations.services import adopt_candidate, forgetting
from optimizations.services.forgetting import KEPT, forget_answers
from optimizations.tasks import forget_answers as task
from tests.optimizations import compiling
from tests.optimizations.compiling import make_dataset, start, worked
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)


def entries(job: Optimization, number: int) -> None:
    MemoEntry.objects.bulk_create(
        MemoEntry(optimization=job, request_hash="a" * 64, occurrence=index, response={}) for index in range(number)
    )


def ended(job: Optimization, ago: timedelta) -> None:
    then = timezone.now() - ago
    Optimization.objects.filter(pk=job.pk).update(state="cancelled", finished_at=then)


def test_answers_go_some_days_after_the_end_in_bounded_batches(erin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    compiling.matcher()
    old, fresh, open_ = start(erin), start(erin), start(erin)
    for job in (old, fresh, open_):
        entries(job, 7)
    MemoEntry.objects.update(created_at=timezone.now() - 10 * KEPT)
    ended(old, KEPT + timedelta(minutes=1))
    ended(fresh, KEPT - timedelta(minutes=1))
    monkeypatch.setattr(forgetting, "BATCH", 2)
    monkeypatch.setattr(forgetting, "BATCHES", 2)

    assert [forget_answers() for _ in range(3)] == [4, 3, 0]

    assert [job.memo_entries.count() for job in (old, fresh, open_)] == [0, 7, 7]


def test_what_a_compile_found_and_cost_does_not_need_them(erin: User, provider: Provider) -> None:
    compiling.provided(provider.base_url)
    provider.answer(compiling.knowing())
    validation = make_dataset(erin, 4, type="validation", offset=100)
    job = worked(start(erin, dataset=make_dataset(erin, 6), validation_set=validation, optimizer="bootstrap_few_shot"))
    assert job.memo_entries.count() == job.calls > 0
    Optimization.objects.filter(pk=job.pk).update(finished_at=timezone.now() - 2 * KEPT)
    before = Optimization.objects.filter(pk=job.pk).values().get()
    candidates = list(job.candidates.values())
    asked = len(provider.requests)

    task()

    assert not MemoEntry.objects.exists()
    assert Optimization.objects.filter(pk=job.pk).values().get() == before
    assert list(job.candidates.values()) == candidates
    made = adopt_candidate(actor=erin, candidate=job.candidates.get())
    assert (made.status, made.name) == ("draft", job.program.name)
    assert len(provider.requests) == asked
