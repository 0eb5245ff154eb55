"""Compiles and evaluations count to the budgets of the installation, and stop where these end."""

from __future__ import annotations

import pytest

from executions.models import Evaluation
from executions.services import process
from mlops.models import BudgetPeriod, User
from mlops.types import JobState
from optimizations.models import Optimization
from tests.mlops.budgets.making import make_budget
from tests.optimizations.compiling import knowing, make_dataset, provided, start, worked
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

OPTIMIZER = {"optimizer": "bootstrap_few_shot", "params": {"max_bootstrapped_demos": 4}}


def told_spending() -> int:
    """What the one budget has spent, once this process has told all of it."""
    process.stop_thread()
    return BudgetPeriod.objects.get().spent


def cost_of(job: Optimization) -> int:
    """Search and judgements together."""
    return (job.cost or 0) + sum(Evaluation.objects.values_list("cost", flat=True))


def test_a_compile_counts_to_the_budget_with_all_that_it_does(erin: User, provider: Provider) -> None:
    provider.answer(knowing())
    provided(provider.base_url)
    make_budget(limit=10**15)

    job = worked(start(erin, dataset=make_dataset(erin, 24), **OPTIMIZER))

    assert job.state == JobState.COMPLETED, job.error_message
    assert told_spending() == cost_of(job) > 0


def test_a_compile_ends_where_the_budget_does(erin: User, provider: Provider) -> None:
    provider.answer(knowing())
    provided(provider.base_url)
    make_budget(limit=0)

    job = worked(start(erin, dataset=make_dataset(erin, 24), **OPTIMIZER))

    assert (job.finish_reason, job.result_program) == ("budget", None)
    assert provider.requests == []
    assert told_spending() == 0
