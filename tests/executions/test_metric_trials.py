"""What trying a metric costs: held back, charged, counted to budgets, and refused when it is not covered."""

from __future__ import annotations

from typing import Any

import pytest

from executions.models import Metric
from executions.services import create_metric, try_metric
from executions.services.planning import forget
from mlops.errors import DomainError
from mlops.models import BudgetPeriod, BudgetSlice, CreditEntry, LanguageModel, ModelPrice, User
from mlops.selectors import forget_language_models, proven_balance
from mlops.services.budgets import update_budget
from mlops.services.credits import credits_for, grant_credits
from mlops.services.history import operator
from mlops.types import Role
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.fakes import fields
from tests.mlops.budgets.making import make_budget
from tests.provider import Provider

pytestmark = pytest.mark.django_db

EXAMPLE = {"question": "Capital of France?", "answer": "Paris"}
RATING = "question, output, rubric -> score: float, feedback"


def tried(actor: User, row: Metric) -> float | str:
    """The score, or the code of the refusal."""
    try:
        return try_metric(actor=actor, metric=row, example=EXAMPLE, output={"answer": "Paris"}).value
    except DomainError as refusal:
        return refusal.code


def limited(credits: int) -> User:
    """An engineer whom so many micro-credits stop."""
    engineer = make_user(Role.ML_ENGINEER.value, has_hard_limit=True)
    grant_credits(actor=operator(), user=engineer, amount=credits, key=f"test:{engineer.pk}")
    engineer.refresh_from_db()
    return engineer


@pytest.fixture(params=["judge", "semantic_similarity"])
def paid_metric(request: pytest.FixtureRequest, erin: User, provider: Provider) -> Metric:
    config: dict[str, Any] = {"field": "answer"}
    if request.param == "judge":
        provided_model(provider)
        provider.answer(lambda _body: fields(score=4, feedback="Right."))
        judge = make_program(name="rating", shorthand=RATING)
        config |= {"rubric": "Is it right?", "scale": [1, 5]}
        return create_metric(actor=erin, name="paid", kind="judge", config=config, judge_program=judge)
    model = provided_model(provider, kind="embedding", is_default=False)
    return create_metric(actor=erin, name="paid", kind=request.param, config=config, language_model=model)


def test_trials_at_once_spend_no_more_than_there_is(erin: User, provider: Provider, paid_metric: Metric) -> None:
    """Each holds back what its judge may cost: with one micro-credit none is admitted."""
    poor = limited(1)
    assert [tried(poor, paid_metric) for _ in range(3)] == ["insufficient_credits"] * 3
    assert provider.requests == []
    assert proven_balance(poor) == 1


def test_a_trial_holds_back_at_least_what_it_uses(erin: User, provider: Provider, paid_metric: Metric) -> None:
    assert isinstance(tried(erin, paid_metric), float)
    reserve, end = CreditEntry.objects.filter(user=erin, subject_kind="metric").order_by("created_at")
    assert (reserve.kind, end.kind) == ("reserve", "settle")
    assert -reserve.amount >= end.used > 0
    assert proven_balance(erin) == -end.used


def test_a_limited_engineer_tries_no_metric_whose_cost_nobody_knows(
    erin: User, provider: Provider, paid_metric: Metric
) -> None:
    ModelPrice.objects.all().delete()
    forget_language_models()
    forget()
    assert tried(limited(10**6), paid_metric) == "price_unknown"
    assert provider.requests == []
    assert isinstance(tried(erin, paid_metric), float)


@pytest.mark.parametrize("scope", ["user", "language_model", "installation"])
def test_a_trial_counts_to_budgets_and_ends_with_them(
    erin: User, provider: Provider, paid_metric: Metric, scope: str
) -> None:
    model = LanguageModel.objects.get()
    targets: dict[str, dict[str, Any]] = {"user": {"user": erin}, "language_model": {"language_model": model}}
    budget = make_budget(scope=scope, **targets.get(scope, {}))
    assert isinstance(tried(erin, paid_metric), float)
    period, asked = BudgetPeriod.objects.get(), len(provider.requests)
    assert credits_for(period.spent) == -proven_balance(erin) > 0
    assert (period.allocated, period.in_doubt) == (period.spent, 0)

    update_budget(actor=operator(), budget=budget, fields={"limit": period.spent})
    assert tried(erin, paid_metric) == "budget_exhausted"
    assert len(provider.requests) == asked
    period.refresh_from_db()
    assert (period.spent, period.allocated) == (period.allocated, period.spent)
    assert period.blocked_at is not None
    assert not BudgetSlice.objects.exists()


def test_a_metric_that_asks_nobody_passes_where_nothing_is_left(erin: User) -> None:
    make_budget(limit=0)
    assert tried(erin, create_metric(actor=erin, name="free", kind="exact_match", config={"field": "answer"})) == 1
    assert not BudgetPeriod.objects.exists()
