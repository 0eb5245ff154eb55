"""Budgets in force while programs are really executed: what is refused, what is counted, and what is given back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from django.db.models import F

from executions.models import Execution
from executions.services import planning, process
from executions.services.cancel import cancel_execution
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess
from executions.types import Mode
from mlops.errors import InsufficientCredits
from mlops.models import Budget, BudgetPeriod, BudgetSlice, CreditEntry, LanguageModel, User
from mlops.services.budgets import update_budget
from mlops.services.history import operator
from mlops.types import MATCHER_NAME, Role
from tests.conftest import api_of
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_language_model, make_user
from tests.installation import eventually
from tests.mlops.budgets.making import make_budget
from tests.provider import Provider, hang, status

pytestmark = pytest.mark.django_db(transaction=True)

INPUT = {"question": "Why?"}
PLENTY = 10**12
SCOPES = ("user", "program", "language_model", "installation")


def executed(user: User, **options: Any) -> Execution:
    return execute_program(actor=user, program="answering", input=INPUT, **options)


def refusal_of(user: User, **options: Any) -> InsufficientCredits:
    with pytest.raises(InsufficientCredits) as refusal:
        executed(user, **options)
    assert refusal.value.code == "budget_exhausted"
    return refusal.value


def executed_if_covered(user: User) -> Execution | None:
    try:
        return executed(user)
    except InsufficientCredits:
        return None


def target(scope: str, user: User, model: LanguageModel, program: str = "answering") -> dict[str, Any]:
    """The fields of a budget that limits one of these."""
    targets: dict[str, Any] = {"user": user, "program": program, "language_model": model}
    return {"scope": scope, **({scope: targets[scope]} if scope in targets else {})}


def allow(budget: Budget, limit: int) -> None:
    update_budget(actor=operator(), budget=budget, fields={"limit": limit})


def take_away(budget: Budget) -> None:
    """Lower the limit to nothing, and wait until this process was told that it holds nothing any more."""
    allow(budget, 0)
    eventually(lambda: not BudgetSlice.objects.filter(size__gt=F("used") + F("reserved")).exists(), within_s=5)


def expected_cost(user: User) -> int:
    """What is reserved of budgets for one execution."""
    return planning.plan("answering", "", None).charged(user.pk, orjson.dumps(INPUT)).cost


def totals() -> set[tuple[int, int, int]]:
    """Spent, allocated and in doubt of every period, once the process has stopped and given back what it held."""
    process.stop_thread()
    assert not BudgetSlice.objects.exists()
    return set(BudgetPeriod.objects.values_list("spent", "allocated", "in_doubt"))


@pytest.mark.parametrize("mode", [Mode.SYNC, Mode.ASYNC])
@pytest.mark.parametrize("scope", SCOPES)
def test_what_is_over_budget_is_refused_before_there_is_a_row(provider: Provider, scope: str, mode: Mode) -> None:
    model, user = provided_model(provider), make_user(credits=10)
    make_program()
    make_budget(**target(scope, user, model), limit=1)
    entries = CreditEntry.objects.count()

    refusal = refusal_of(user, mode=mode)

    assert (refusal.extra["budget"], refusal.extra["period"]) == (scope, "day")
    assert ("limit" in refusal.extra) == (scope == "user"), "figures are for those who may see the budget"
    assert not Execution.objects.exists()
    assert CreditEntry.objects.count() == entries
    assert provider.requests == []
    assert totals() == {(0, 0, 0)}


def test_budgets_of_others_and_disabled_ones_refuse_nothing(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    for scope in ("user", "program", "language_model"):
        make_budget(**target(scope, make_user(), make_language_model(), "other"), limit=0)
    make_budget(limit=0, is_enabled=False)
    assert executed(make_user(credits=10)).state == "completed"
    assert totals() == set()


def test_the_refusal_is_402_over_rest_and_says_when_to_come_again(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    make_budget(limit=0, period="month")
    answer = api_of(make_user(credits=10)).post("/api/v1/programs/answering/execute/", {"input": INPUT})
    body = answer.json()
    assert (answer.status_code, body["code"], body["budget"], body["period"]) == (
        402, "budget_exhausted", "installation", "month",
    )  # fmt: skip
    assert body["resets_at"].endswith("-01T00:00:00+00:00")
    assert "limit" not in body
    assert not Execution.objects.exists()


def test_a_repetition_is_answered_though_nothing_is_left(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    budget, user = make_budget(limit=PLENTY), make_user(credits=10)
    first = executed(user, idempotency_key="once")
    take_away(budget)

    assert executed(user, idempotency_key="once").pk == first.pk
    refusal_of(user, idempotency_key="another")

    assert Execution.objects.count() == len(provider.requests) == 1
    assert totals() == {(first.cost, first.cost, 0)}


def test_what_was_admitted_before_fails_at_its_claim(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    budget, user = make_budget(limit=PLENTY), make_user(credits=10)
    execution = executed(user, mode=Mode.ASYNC)
    take_away(budget)
    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()

    eventually(lambda: state_of(execution) == "failed")

    row = Execution.objects.get(pk=execution.pk)
    assert (row.error_code, row.cost, row.credits_used) == ("budget_exhausted", 0, 0)
    assert provider.requests == []
    assert totals() == {(0, 0, 0)}
    user.refresh_from_db()
    assert user.ml_credits == 10_000_000


def test_a_raised_limit_lets_work_through(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    budget, user = make_budget(limit=0), make_user(credits=10)
    refusal_of(user)
    allow(budget, PLENTY)

    through = eventually(lambda: executed_if_covered(user), within_s=5)
    assert through.state == "completed"
    assert len(provider.requests) == 1


def test_what_failed_without_a_bill_is_given_back(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    user = make_user(credits=10)
    make_budget(limit=expected_cost(user))
    for _ in range(3):
        provider.script(status(400))
        assert executed(user).state == "failed"
    assert totals() == {(0, 0, 0)}


def test_what_is_under_way_is_reserved_and_what_is_cancelled_given_back(
    provider: Provider, worker: ExecutionProcess
) -> None:
    provided_model(provider, timeout_s=60, deadline_s=60)
    make_program()
    user = make_user(credits=10)
    make_budget(limit=expected_cost(user))
    provider.script(hang())
    first = executed(user, mode=Mode.ASYNC)
    eventually(lambda: provider.requests)
    refusal_of(user)

    cancel_execution(actor=user, execution=first)
    eventually(lambda: state_of(first) == "cancelled")

    second = eventually(lambda: executed_if_covered(user))  # given back just after the end is committed
    assert second.state == "completed"
    assert totals() == {(second.cost, second.cost, 0)}


def test_every_budget_in_force_counts_what_was_spent_to_the_pico_dollar(provider: Provider) -> None:
    model, user = provided_model(provider), make_user(credits=100)
    make_program()
    for scope in SCOPES:
        for period in ("day", "month"):
            make_budget(**target(scope, user, model), period=period, limit=PLENTY)
    with ThreadPoolExecutor(4) as threads:
        states = [execution.state for execution in threads.map(lambda _: executed(user), range(12))]
    assert states == ["completed"] * 12
    cost = sum(row.cost or 0 for row in Execution.objects.all())
    assert totals() == {(cost, cost, 0)}
    assert BudgetPeriod.objects.count() == 8


FREE = {"input_price": 0, "cached_input_price": 0, "output_price": 0}


def test_what_costs_nothing_passes_where_nothing_is_left(provider: Provider) -> None:
    provided_model(provider, price=FREE)
    make_program()
    make_budget(limit=0)
    execution = executed(make_user(credits=10))
    assert (execution.state, execution.cost) == ("completed", 0)
    assert totals() == set()


def test_the_example_matcher_is_asked_where_nothing_is_left(provider: Provider) -> None:
    """It has no examples to answer from here, and says so: no budget has."""
    provided_model(provider, name=MATCHER_NAME, price=FREE)
    make_program()
    make_budget(limit=0)
    execution = executed(make_user(credits=10))
    assert (execution.error_code, execution.cost) == ("invalid_request", 0)
    assert provider.requests == []
    assert totals() == set()


def test_what_nobody_knows_the_price_of_is_counted_apart(provider: Provider) -> None:
    provided_model(provider, price=None)
    make_program()
    budget, user = make_budget(limit=PLENTY), make_user(Role.ML_ENGINEER.value)
    execution = executed(user)
    assert (execution.state, execution.cost) == ("completed", None)
    assert totals() == {(0, 0, 0)}
    assert BudgetPeriod.objects.get(budget=budget).unpriced == 1
