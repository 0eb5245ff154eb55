"""However a compile ends: it says why, and nothing that it has begun goes on paying."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from executions.models import Evaluation
from executions.services.evaluations import evaluate_program, run_evaluation_here, sweep_evaluations
from mlops.models import CreditEntry, User
from mlops.services.jobs import MAX_IDLE_ATTEMPTS, claim
from mlops.types import Role
from optimizations.models import Optimization
from optimizations.services import cancel_optimization
from optimizations.services.working import sweep_optimizations
from optimizations.types import FinishReason
from tests.factories import make_user
from tests.optimizations import compiling
from tests.optimizations.compiling import start, worked
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)


def row_of(job: Optimization) -> Optimization:
    return Optimization.objects.get(pk=job.pk)


def ledger_of(work: Optimization | Evaluation) -> list[str]:
    return list(CreditEntry.objects.filter(subject_id=work.pk).order_by("id").values_list("kind", flat=True))


def with_a_baseline_under_way(job: Optimization) -> Evaluation:
    """As a worker leaves it that made the evaluation of the baseline, and handed the job back."""
    assert job.validation_set is not None
    evaluation = evaluate_program(
        actor=job.user, program=job.program, dataset=job.validation_set, metrics=[job.metric],
        prompt_set=job.prompt_set, source_kind="optimization", source_id=job.pk,
    )  # fmt: skip
    Optimization.objects.filter(pk=job.pk).update(baseline_evaluation=evaluation)
    return evaluation


def lost(job: Optimization, *, idle_attempts: int = 1) -> None:
    """A worker takes the job and disappears."""
    assert claim(Optimization.objects.filter(pk=job.pk)) is not None
    Optimization.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now(), idle_attempts=idle_attempts)


def cancelled_while_it_waits(job: Optimization) -> None:
    cancel_optimization(actor=make_user(Role.ML_ENGINEER.value), optimization=job)


def cancelled_when_its_worker_is_gone(job: Optimization) -> None:
    lost(job)
    cancel_optimization(actor=make_user(Role.ML_ENGINEER.value), optimization=job)
    sweep_optimizations()


def failed_for_losing_its_workers(job: Optimization) -> None:
    lost(job, idle_attempts=MAX_IDLE_ATTEMPTS)
    sweep_optimizations()


def failed_for_what_nobody_foresaw(job: Optimization) -> None:
    Optimization.objects.filter(pk=job.pk).update(optimizer="of another release")
    assert worked(job).error_code == "internal_error"


def failed_for_a_changed_program(job: Optimization) -> None:
    Optimization.objects.filter(pk=job.pk).update(spec_digest="another")
    assert worked(job).error_code == "program_changed"


ENDINGS = [
    (cancelled_while_it_waits, ("cancelled", "", FinishReason.CANCELLED)),
    (cancelled_when_its_worker_is_gone, ("cancelled", "", FinishReason.CANCELLED)),
    (failed_for_losing_its_workers, ("failed", "lease_lost", FinishReason.FAILED)),
    (failed_for_what_nobody_foresaw, ("failed", "internal_error", FinishReason.FAILED)),
    (failed_for_a_changed_program, ("failed", "program_changed", FinishReason.FAILED)),
]


@pytest.mark.parametrize(("end", "ended"), ENDINGS)
def test_every_end_has_its_reason_and_settles(
    erin: User, end: Callable[[Optimization], None], ended: tuple[str, str, FinishReason]
) -> None:
    compiling.matcher()
    job = start(erin)
    end(job)
    row = row_of(job)
    assert (row.state, row.error_code, row.finish_reason) == ended
    assert (row.lease_token, row.finished_at is None) == (None, False)
    assert ledger_of(job) == ["reserve", "release"]


@pytest.mark.parametrize("end", [ENDINGS[0][0], ENDINGS[1][0], ENDINGS[2][0], ENDINGS[4][0]])
def test_the_evaluation_that_it_has_begun_ends_with_it_and_asks_nothing_more(
    erin: User, provider: Provider, end: Callable[[Optimization], None]
) -> None:
    compiling.provided(provider.base_url)
    job = start(erin)
    evaluation = with_a_baseline_under_way(job)
    User.objects.filter(pk=erin.pk).update(role=Role.ML_USER.value)  # the owner's rights do not matter
    end(Optimization.objects.get(pk=job.pk))
    assert row_of(job).is_terminal
    sweep_evaluations()
    row = run_evaluation_here(evaluation)
    assert (row.state, row.finish_reason, row.done) == ("cancelled", "cancelled", 0)
    assert set(row.shards.values_list("state", flat=True)) == {"cancelled"}
    assert ledger_of(row) == ["reserve", "release"]
    assert provider.requests == []


def test_one_that_is_handed_back_keeps_what_it_has_begun(erin: User) -> None:
    compiling.matcher()
    job = start(erin)
    evaluation = with_a_baseline_under_way(job)
    lost(job)
    sweep_optimizations()
    assert (row_of(job).state, row_of(job).finish_reason) == ("pending", "")
    assert Evaluation.objects.get(pk=evaluation.pk).state == "pending"
    ended = worked(job)
    assert (ended.state, ended.finish_reason, ended.baseline_evaluation) == ("completed", "finished", evaluation)
