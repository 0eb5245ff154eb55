"""How far a budget is used up, what its forecast counts from, and the way back of its limit."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from unittest.mock import patch

import pytest
from django.core import mail
from django.utils import timezone

from mlops.models import Budget, BudgetPeriod, BudgetSlice, User
from mlops.selectors.budgets import periods_of, standing_in, standing_of
from mlops.services.budgets import tell_of_budgets
from tests.conftest import api_of
from tests.mlops.budgets.making import make_budget

pytestmark = pytest.mark.django_db
URL = "/api/v1/budgets/"
NOON = datetime(2026, 7, 16, 12, tzinfo=UTC)


def made(at: datetime, **fields: object) -> Budget:
    budget = make_budget(**fields)
    budget.created_at = at
    budget.save()
    return budget


@pytest.mark.parametrize(
    ("cycle", "created", "forecast"),
    [
        ("day", NOON - timedelta(days=9), 200),
        ("day", NOON - timedelta(hours=4), 400),
        ("day", NOON - timedelta(minutes=59), None),
        ("month", NOON - timedelta(days=90), 200),
    ],
)
def test_a_forecast_goes_on_at_the_pace_since_the_budget_counts(
    cycle: str, created: datetime, forecast: int | None
) -> None:
    """Half of the day, and half of July, have passed."""
    with patch("django.utils.timezone.now", lambda: NOON):
        budget = made(created, period=cycle, limit=1000)
        starts_on = date(2026, 7, 16) if cycle == "day" else date(2026, 7, 1)
        BudgetPeriod.objects.create(budget=budget, starts_on=starts_on, spent=100, allocated=100)
        assert standing_of(budget).forecast == forecast


def test_the_forecast_of_a_period_that_has_ended_is_what_was_spent() -> None:
    budget = made(NOON)
    BudgetPeriod.objects.create(budget=budget, starts_on=date(2026, 7, 17), spent=123, allocated=123)
    (period,) = periods_of(budget)
    with patch("django.utils.timezone.now", lambda: NOON + timedelta(days=40)):
        assert standing_in(period, budget).forecast == 123


def test_it_is_blocked_once_what_is_spent_in_doubt_and_under_way_reach_the_limit() -> None:
    budget = make_budget(limit=100)
    period = BudgetPeriod.objects.create(
        budget=budget, starts_on=timezone.now().astimezone(UTC).date(), spent=50, allocated=90, in_doubt=10
    )
    held = BudgetSlice.objects.create(period=period, holder="p", size=40, reserved=39, expires_at=timezone.now())
    assert not standing_of(budget).is_blocked
    BudgetSlice.objects.filter(pk=held.pk).update(reserved=40)
    assert standing_of(budget).is_blocked


def test_a_daily_budget_is_not_told_of_for_the_first_of_the_month(admin: User) -> None:
    """That day is where the present month begins, but not the present day."""
    budget = make_budget(limit=100)
    BudgetPeriod.objects.create(budget=budget, starts_on=date(2026, 7, 1), spent=99, allocated=99)
    with patch("django.utils.timezone.now", lambda: NOON):
        assert tell_of_budgets() == 0
    assert mail.outbox == []


def test_periods_are_paged_newest_first_and_are_those_of_one_budget(erin: User, alice: User) -> None:
    mine, other = make_budget(scope="user", user=alice), make_budget()
    for day in (1, 2, 3):
        for budget in (mine, other):
            BudgetPeriod.objects.create(budget=budget, starts_on=date(2026, 7, day), spent=day)
    for user in (erin, alice):
        first = api_of(user).get(f"{URL}{mine.pk}/periods/?page_size=2").json()
        assert [row["starts_at"][:10] for row in first["results"]] == ["2026-07-03", "2026-07-02"]
        rest = api_of(user).get(first["next"]).json()
        assert ([row["starts_at"][:10] for row in rest["results"]], rest["next"]) == (["2026-07-01"], None)
    assert api_of(alice).get(f"{URL}{other.pk}/periods/").status_code == 404


def test_a_limit_is_put_back_by_admins(admin: User, erin: User) -> None:
    api, address = api_of(admin), f"{URL}{make_budget(limit=10**12).pk}/"
    changed = api.patch(address, {"limit": "0.00001", "is_enabled": False}, HTTP_IF_MATCH=api.get(address)["ETag"])
    assert changed.json()["limit"] == "0.00001"
    oldest = api.get(f"{address}history/").json()["results"][-1]["state"]

    assert api_of(erin).post(f"{address}history/{oldest}/revert/").status_code == 403
    back = api.post(f"{address}history/{oldest}/revert/")

    assert (back.status_code, back.json()["limit"], back.json()["is_enabled"]) == (200, "1", True)
    states = api.get(f"{address}history/").json()["results"]
    assert [state["verb"] for state in states] == ["revert", "change", "create"]


def test_what_was_spent_of_is_409_to_delete(admin: User) -> None:
    budget = make_budget()
    BudgetPeriod.objects.create(budget=budget, starts_on=date(2026, 7, 1), spent=1, allocated=1)
    answer = api_of(admin).delete(f"{URL}{budget.pk}/")
    assert (answer.status_code, answer.json()["code"]) == (409, "budget_in_use")
    assert Budget.objects.exists()


def test_lists_are_filtered(admin: User, alice: User) -> None:
    one = make_budget(scope="user", user=alice, period="month")
    make_budget(scope="program", program="triage", is_enabled=False)
    api = api_of(admin)
    for query in (f"user={alice.pk}", "scope=user", "period=month", "is_enabled=true"):
        assert [row["id"] for row in api.get(f"{URL}?{query}").json()["results"]] == [str(one.pk)]
    assert len(api.get(f"{URL}?program=triage").json()["results"]) == 1
    assert api.get(f"{URL}?language_model=nothing").status_code == 400
    assert api.get(f"{URL}?colour=red").status_code == 400
