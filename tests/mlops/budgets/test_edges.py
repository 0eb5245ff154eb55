"""Budgets over REST and in the admin site."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries

from mlops.models import Budget, BudgetPeriod, BudgetSlice, User
from mlops.periods import first_day, today
from mlops.types import BudgetCycle
from tests.conftest import api_of
from tests.factories import make_language_model, make_user
from tests.mlops.budgets.making import make_budget

pytestmark = pytest.mark.django_db
URL = "/api/v1/budgets/"


def spent(budget: Budget, spent: int, **fields: Any) -> BudgetPeriod:
    starts_on = first_day(BudgetCycle(budget.period), today())
    return BudgetPeriod.objects.create(
        budget=budget, starts_on=starts_on, spent=spent, **{"allocated": spent, **fields}
    )


def test_a_budget_is_set_read_changed_and_deleted(admin: User, alice: User) -> None:
    api = api_of(admin)
    made = api.post(URL, {"scope": "user", "user": str(alice.pk), "period": "month", "limit": "12.5"})
    assert made.status_code == 201, made.content
    body = made.json()
    assert (body["limit"], body["warn_percent"], body["is_enabled"]) == ("12.5", 80, True)
    assert (body["present"]["spent"], body["present"]["left"], body["present"]["percent"]) == ("0", "12.5", 0)
    address = f"{URL}{body['id']}/"
    stale = api.patch(address, {"limit": "20"}, HTTP_IF_MATCH='"other"')
    assert (stale.status_code, stale.json()["code"]) == (412, "row_changed")
    changed = api.patch(address, {"limit": "20", "warn_percent": 50}, HTTP_IF_MATCH=made["ETag"])
    assert (changed.status_code, changed.json()["limit"]) == (200, "20")
    assert changed["ETag"] != made["ETag"]
    assert api.delete(address).status_code == 204
    assert not Budget.objects.exists()


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"limit": 12.5}, "limit", "decimal_invalid"),
        ({"limit": True}, "limit", "decimal_invalid"),
        ({"limit": "NaN"}, "limit", "decimal_invalid"),
        ({"limit": "1e3"}, "limit", "decimal_invalid"),
        ({"limit": "-1"}, "limit", "budget_limit_invalid"),
        ({"limit": "1000001"}, "limit", "budget_limit_invalid"),
        ({"limit": "99999999999999999999"}, "limit", "decimal_invalid"),
        ({"limit": "0.0000000000001"}, "limit", "decimal_too_precise"),
        ({"scope": "planet"}, "scope", "invalid_choice"),
        ({"period": "year"}, "period", "invalid_choice"),
        ({"warn_percent": 0}, "warn_percent", "min_value"),
        ({"program": "triage"}, "program", "budget_target_invalid"),
        ({"colour": "red"}, "colour", "unknown_field"),
    ],
)
def test_bad_bodies_are_refused_with_the_field(admin: User, body: dict[str, Any], field: str, code: str) -> None:
    answer = api_of(admin).post(URL, {"scope": "installation", "period": "day", "limit": "1", **body})
    assert answer.status_code == 400, answer.content
    assert (field, code) in [(problem["field"], problem["code"]) for problem in answer.json()["errors"]]
    assert not Budget.objects.exists()


def test_a_user_that_is_not_there_is_404_and_a_second_budget_is_409(admin: User) -> None:
    api = api_of(admin)
    missing = api.post(
        URL, {"scope": "user", "user": "01900000-0000-7000-8000-000000000000", "period": "day", "limit": "1"}
    )
    assert (missing.status_code, missing.json()["code"]) == (404, "user_not_found")
    make_budget()
    again = api.post(URL, {"scope": "installation", "period": "day", "limit": "1"})
    assert (again.status_code, again.json()["code"]) == (409, "budget_exists")


def test_engineers_read_all_and_people_their_own_and_neither_writes(erin: User, alice: User, bob: User) -> None:
    mine = make_budget(scope="user", user=alice)
    theirs, all_of_it = make_budget(scope="user", user=bob), make_budget()
    assert {row["id"] for row in api_of(alice).get(URL).json()["results"]} == {str(mine.pk)}
    assert len(api_of(erin).get(URL).json()["results"]) == 3
    assert api_of(alice).get(f"{URL}{theirs.pk}/").status_code == 404
    for user, budget in ((erin, all_of_it), (alice, mine)):
        assert api_of(user).patch(f"{URL}{budget.pk}/", {"limit": "9"}).status_code == 403
        assert api_of(user).delete(f"{URL}{budget.pk}/").status_code == 403
    assert api_of(alice).delete(f"{URL}{theirs.pk}/").status_code in (403, 404)
    assert set(Budget.objects.values_list("limit", flat=True)) == {10**12}


def test_the_present_period_and_the_past_ones_are_told(erin: User) -> None:
    budget = make_budget(limit=1000)
    period = spent(budget, 250, allocated=400, in_doubt=50, unpriced=3)
    BudgetSlice.objects.create(
        period=period, holder="p", size=350, used=250, reserved=60, expires_at="2099-01-01T00:00Z"
    )
    BudgetPeriod.objects.create(budget=budget, starts_on="2020-01-01", spent=1000, allocated=1000)
    present = api_of(erin).get(f"{URL}{budget.pk}/").json()["present"]
    told = ("spent", "left", "in_doubt", "held", "open_slices", "percent", "unpriced")
    assert {name: present[name] for name in told} == {
        "spent": "0.00000000025", "left": "0.0000000007", "in_doubt": "0.00000000005", "held": "0.0000000001",
        "open_slices": 1, "percent": 25, "unpriced": 3,
    }  # fmt: skip
    past = api_of(erin).get(f"{URL}{budget.pk}/periods/").json()["results"]
    assert [row["percent"] for row in past] == [25, 100]
    assert past[1]["resets_at"] == "2020-01-02T00:00:00Z"


def test_a_list_asks_as_often_for_many_as_for_one(
    admin: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    api = api_of(admin)
    api.get(URL)
    for _ in range(12):
        spent(make_budget(scope="user", user=make_user()), 5)
        make_budget(scope="language_model", language_model=make_language_model())
    with django_assert_max_num_queries(6):
        assert len(api.get(URL).json()["results"]) == 24


@pytest.fixture
def browser(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def page(verb: str, *args: object) -> str:
    return reverse(f"admin:mlops_budget_{verb}", args=args)


def test_the_pages_show_how_far_a_budget_is_used_up(browser: Client) -> None:
    budget = make_budget(limit=10**12)
    spent(budget, 25 * 10**10)
    for address in (page("changelist"), page("change", budget.pk)):
        text = browser.get(address).content.decode()
        assert '<progress max="100" value="25"' in text
        assert "$0.25 (25 %)" in text
    assert browser.get(page("history", budget.pk)).status_code == 200


def test_a_budget_is_set_and_raised_in_dollars(browser: Client, alice: User) -> None:
    given = {"scope": "user", "user": str(alice.pk), "program": "", "language_model": "", "period": "day"}
    more = {"limit": "1.5", "warn_percent": "90", "is_enabled": "on"}
    assert browser.post(page("add"), {**given, **more}).status_code == 302
    budget = Budget.objects.get()
    assert (budget.user, budget.limit, budget.warn_percent) == (alice, 15 * 10**11, 90)
    no_rows = {"periods-TOTAL_FORMS": "0", "periods-INITIAL_FORMS": "0"}
    answer = browser.post(page("change", budget.pk), {**more, **no_rows, "limit": "3"})
    assert answer.status_code == 302
    budget.refresh_from_db()
    assert (budget.limit, budget.is_enabled) == (3 * 10**12, True)


def test_what_is_refused_stays_in_the_form(browser: Client) -> None:
    given = {"scope": "user", "program": "triage", "period": "day", "limit": "-1", "warn_percent": "80"}
    answer = browser.post(page("add"), given)
    assert answer.status_code == 200
    assert "from 0 to a million" in answer.content.decode()
    assert not Budget.objects.exists()


def test_engineers_look_and_do_not_touch(erin: User) -> None:
    budget, client = make_budget(), Client()
    client.force_login(erin)
    assert client.get(page("change", budget.pk)).status_code == 200
    assert client.post(page("change", budget.pk), {"limit": "3", "warn_percent": "80"}).status_code == 403
    assert client.get(page("add")).status_code == 403
