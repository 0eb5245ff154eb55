"""Setting budgets: who may, what is refused, and that each target has one per period."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from mlops.errors import Conflict, Forbidden, Invalid
from mlops.models import Budget, BudgetPeriod, User
from mlops.periods import today
from mlops.services.budgets import create_budget, delete_budget, update_budget
from mlops.services.budgets.verbs import MAX_LIMIT
from mlops.services.history import operator
from mlops.services.users import anonymise_user
from tests.factories import make_language_model, make_user
from tests.mlops.budgets.making import make_budget

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "limit", [-1, MAX_LIMIT + 1, 2**63, True, False, 1.5, float("nan"), float("inf"), "10", None, [1]]
)
def test_a_limit_is_a_whole_number_from_nothing_to_a_million_dollars(limit: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        make_budget(limit=limit)
    assert (refusal.value.code, refusal.value.field) == ("budget_limit_invalid", "limit")
    budget = make_budget(limit=MAX_LIMIT)
    with pytest.raises(Invalid):
        update_budget(actor=operator(), budget=budget, fields={"limit": limit})
    assert list(Budget.objects.values_list("limit", flat=True)) == [MAX_LIMIT]


def test_a_limit_of_zero_is_one() -> None:
    assert make_budget(limit=0).limit == 0


def test_a_budget_names_the_target_of_its_scope_and_no_other() -> None:
    targets: dict[str, Any] = {"user": make_user(), "program": "triage", "language_model": make_language_model()}
    for scope in (*targets, "installation"):
        for name, target in targets.items():
            if name == scope:
                wrong: dict[str, Any] = {}
            else:
                wrong = {name: target} | ({scope: targets[scope]} if scope in targets else {})
            with pytest.raises(Invalid) as refusal:
                make_budget(scope=scope, **wrong)
            assert refusal.value.code == "budget_target_invalid"
    assert not Budget.objects.exists()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"scope": "nobody"}, "scope"),
        ({"period": "year"}, "period"),
        ({"warn_percent": 0}, "warn_percent"),
        ({"warn_percent": 101}, "warn_percent"),
        ({"scope": "program", "program": "No Name"}, "program"),
        ({"scope": "program", "program": "a\x00"}, "program"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_values_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        make_budget(**fields)
    assert field in {problem.field for problem in refusal.value.problems}
    assert not Budget.objects.exists()


def test_a_target_has_one_budget_per_kind_of_period(alice: User, bob: User) -> None:
    for user in (alice, bob):
        for period in ("day", "month"):
            make_budget(scope="user", user=user, period=period)
    with pytest.raises(Conflict) as refusal:
        make_budget(scope="user", user=alice, period="day", limit=5)
    assert refusal.value.code == "budget_exists"
    assert Budget.objects.count() == 4


def test_the_database_refuses_a_budget_without_its_target() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Budget.objects.create(scope="user", period="day", limit=1)


@pytest.mark.parametrize("role", ["ml_user", "ml_engineer"])
def test_only_admins_write(role: str) -> None:
    somebody, budget = make_user(role), make_budget()
    with pytest.raises(Forbidden):
        create_budget(actor=somebody, scope="user", period="day", limit=1, user=somebody)
    with pytest.raises(Forbidden):
        update_budget(actor=somebody, budget=budget, fields={"limit": 1})
    with pytest.raises(Forbidden):
        delete_budget(actor=somebody, budget=budget)
    assert Budget.objects.get().limit == 10**12


def test_people_see_their_own_and_engineers_all(alice: User, bob: User, erin: User) -> None:
    mine = make_budget(scope="user", user=alice)
    make_budget(scope="user", user=bob)
    make_budget()
    assert list(Budget.objects.visible_to(alice)) == [mine]
    assert Budget.objects.visible_to(erin).count() == 3


def test_target_and_period_never_change() -> None:
    budget = make_budget()
    for fields in ({"scope": "program"}, {"period": "month"}, {"program": "triage"}):
        with pytest.raises(Invalid) as refusal:
            update_budget(actor=operator(), budget=budget, fields=fields)
        assert refusal.value.code == "unknown_field"


def test_every_change_is_in_the_history(admin: User) -> None:
    budget = create_budget(actor=admin, scope="installation", period="day", limit=5)
    update_budget(actor=admin, budget=budget, fields={"limit": 7})
    delete_budget(actor=admin, budget=budget)
    rows = Budget.history.order_by("history_id").values_list("history_change_reason", "limit", "history_user")
    assert list(rows) == [("create", 5, admin.pk), ("change", 7, admin.pk), ("delete", 7, admin.pk)]


def test_what_was_spent_of_is_disabled_not_deleted() -> None:
    budget = make_budget()
    BudgetPeriod.objects.create(budget=budget, starts_on=today(), spent=1, allocated=1)
    with pytest.raises(Conflict) as refusal:
        delete_budget(actor=operator(), budget=budget)
    assert refusal.value.code == "budget_in_use"
    assert update_budget(actor=operator(), budget=budget, fields={"is_enabled": False}).is_enabled is False


def test_the_budget_of_somebody_who_was_made_anonymous_stays(admin: User, alice: User) -> None:
    budget = make_budget(scope="user", user=alice)
    anonymise_user(actor=admin, user=alice)
    assert "alice" not in Budget.objects.get(pk=budget.pk).target_name


@pytest.mark.django_db(transaction=True)
def test_of_many_that_set_the_same_budget_at_once_one_does() -> None:
    outcomes: list[str] = []
    together = threading.Barrier(6)

    def make() -> None:
        try:
            together.wait()
            make_budget()
            outcomes.append("made")
        except Conflict as refusal:
            outcomes.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["budget_exists"] * 5 + ["made"]
    assert Budget.objects.count() == 1
