"""Mails about budgets: to whom, when, and that each is sent once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.utils import timezone

from mlops.models import Budget, BudgetPeriod, User
from mlops.periods import first_day, today
from mlops.services.budgets import tell_of_budgets, update_budget
from mlops.services.history import operator
from mlops.types import BudgetCycle
from tests.factories import make_user
from tests.mlops.budgets.making import make_budget

pytestmark = pytest.mark.django_db


def spent(budget: Budget, amount: int, **fields: Any) -> BudgetPeriod:
    starts_on = first_day(BudgetCycle(budget.period), today())
    return BudgetPeriod.objects.create(budget=budget, starts_on=starts_on, spent=amount, allocated=amount, **fields)


def recipients() -> list[list[str]]:
    return [message.to for message in mail.outbox]


def test_the_threshold_is_told_once_to_admins_and_to_whose_spending_it_is(admin: User, alice: User, bob: User) -> None:
    period = spent(make_budget(scope="user", user=alice, limit=10**12), 79 * 10**10)
    assert tell_of_budgets() == 0
    BudgetPeriod.objects.filter(pk=period.pk).update(spent=80 * 10**10)
    assert (tell_of_budgets(), tell_of_budgets()) == (1, 0)
    assert recipients() == [sorted([admin.email, alice.email])]
    assert "alice" in mail.outbox[0].subject
    assert "$0.8 of $1" in mail.outbox[0].body


def test_a_refusal_is_told_once_beside_the_threshold(admin: User) -> None:
    spent(make_budget(limit=100), 100, blocked_at=timezone.now())
    assert (tell_of_budgets(), tell_of_budgets()) == (2, 0)
    assert len(mail.outbox) == 2
    assert "being refused" in mail.outbox[1].body


def test_the_largest_limit_and_a_limit_of_zero_have_a_threshold_too(admin: User) -> None:
    spent(make_budget(limit=10**18), 8 * 10**17)
    spent(make_budget(limit=0, scope="program", program="free"), 0)
    assert tell_of_budgets() == 1


def test_ended_periods_and_disabled_budgets_are_not_told_of(admin: User) -> None:
    budget = make_budget(limit=100)
    BudgetPeriod.objects.create(budget=budget, starts_on="2020-01-01", spent=100, allocated=100)
    disabled = make_budget(limit=100, period="month")
    spent(disabled, 100)
    update_budget(actor=operator(), budget=disabled, fields={"is_enabled": False})
    assert tell_of_budgets() == 0
    assert mail.outbox == []


def test_deactivated_people_and_those_without_an_address_get_none(admin: User, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    make_user("admin", username="silent")
    User.objects.filter(username="silent").update(email="")
    spent(make_budget(scope="user", user=alice, limit=100), 100)
    tell_of_budgets()
    assert recipients() == [[admin.email]]


class Unreachable(EmailBackend):
    """A mail server that takes nothing."""

    def send_messages(self, messages: Any) -> int:
        raise ConnectionRefusedError


def test_a_mail_that_the_server_does_not_take_is_sent_later(admin: User, settings: Any) -> None:
    spent(make_budget(limit=100), 100)
    working, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, f"{__name__}.Unreachable"
    assert tell_of_budgets() == 0
    settings.EMAIL_BACKEND = working
    assert tell_of_budgets() == 1
    assert len(mail.outbox) == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_processes_one_sends_it(admin: User) -> None:
    spent(make_budget(limit=100), 100)
    together, sent = threading.Barrier(6), []

    def tell() -> None:
        together.wait()
        sent.append(tell_of_budgets())
        connection.close()

    threads = [threading.Thread(target=tell) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == [0, 0, 0, 0, 0, 1]
    assert len(mail.outbox) == 1
