"""What an execution charged can be given back: by admins, once per key, and never more than it was."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from executions.models import Execution
from executions.services import refund_execution
from mlops.errors import Conflict, DomainError, Forbidden, Invalid
from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance
from mlops.services.credits import Subject, reserve, settle
from tests.conftest import api_of
from tests.executions.rows import make_prompt_set, new_execution
from tests.factories import make_user

pytestmark = pytest.mark.django_db
CREDIT = 10**6
SUBMIT = {"_form_submitted": "true"}


def charged(user: User, used: int = 3 * CREDIT, state: str = "completed", prompt_set: Any = None) -> Execution:
    execution = new_execution(user, prompt_set or make_prompt_set(), credits_reserved=used, credits_used=used)
    execution.save()
    Execution.objects.filter(pk=execution.pk).update(state=state)
    if used:
        subject = Subject("execution", execution.pk)
        settle(reservation=reserve(user=user, amount=used, key=f"execution:{execution.pk}", subject=subject), used=used)
    return Execution.objects.get(pk=execution.pk)


def balance(user: User) -> int:
    user.refresh_from_db()
    assert user.ml_credits == proven_balance(user)
    return user.ml_credits


def test_all_that_was_charged_comes_back_once(admin: User, alice: User) -> None:
    execution = charged(alice)

    line = refund_execution(actor=admin, execution=execution, key="k", note="sorry")
    again = refund_execution(actor=admin, execution=execution, key="k", note="sorry")

    assert (line.kind, line.amount, line.subject_id, line.granted_by) == ("refund", 3 * CREDIT, execution.pk, admin)
    assert again.pk == line.pk
    assert balance(alice) == 100 * CREDIT
    with pytest.raises(Conflict) as refusal:
        refund_execution(actor=admin, execution=execution, key="other")
    assert refusal.value.code == "execution_not_refundable"
    assert balance(alice) == 100 * CREDIT


def test_parts_come_back_until_nothing_is_left(admin: User, alice: User) -> None:
    execution = charged(alice)
    refund_execution(actor=admin, execution=execution, amount=CREDIT, key="a")

    with pytest.raises(Invalid) as refusal:
        refund_execution(actor=admin, execution=execution, amount=2 * CREDIT + 1, key="b")
    rest = refund_execution(actor=admin, execution=execution, key="c")

    assert (refusal.value.code, refusal.value.field) == ("refund_too_large", "credits")
    assert rest.amount == 2 * CREDIT
    assert balance(alice) == 100 * CREDIT


@pytest.mark.parametrize("state", ["pending", "running"])
def test_what_has_not_ended_is_not_refunded(admin: User, alice: User, state: str) -> None:
    with pytest.raises(Conflict):
        refund_execution(actor=admin, execution=charged(alice, state=state), key="k")
    assert not CreditEntry.objects.filter(kind="refund").exists()


def test_a_key_of_something_else_is_a_conflict(admin: User, alice: User) -> None:
    prompt_set = make_prompt_set()
    refund_execution(actor=admin, execution=charged(alice, prompt_set=prompt_set), key="k")
    with pytest.raises(Conflict) as refusal:
        refund_execution(actor=admin, execution=charged(alice, prompt_set=prompt_set), key="k")
    assert refusal.value.code == "credit_key_reused"


@pytest.mark.parametrize("amount", [0, -1, True, 1.5, "1"])
def test_an_amount_is_positive_and_whole(admin: User, alice: User, amount: Any) -> None:
    with pytest.raises(Invalid):
        refund_execution(actor=admin, execution=charged(alice), amount=amount, key="k")
    assert balance(alice) == 97 * CREDIT


def test_only_admins_refund(alice: User, erin: User) -> None:
    execution = charged(alice)
    for actor in (alice, erin):
        with pytest.raises(Forbidden):
            refund_execution(actor=actor, execution=execution, key="k")
        assert api_of(actor).post(f"/api/v1/executions/{execution.pk}/refund/", {}).status_code == 403
    assert balance(alice) == 97 * CREDIT


def test_over_rest(admin: User, alice: User) -> None:
    execution = charged(alice)

    def post(body: dict[str, Any], key: str) -> Any:
        address = f"/api/v1/executions/{execution.pk}/refund/"
        return api_of(admin).post(address, body, headers={"Idempotency-Key": key})

    part, again = (post({"credits": "0.5", "note": "late"}, "k") for _ in range(2))
    refused = [post({"credits": wrong}, "l") for wrong in ("-1", "NaN", True, 1.5, "2.500001", "0")]
    rest, rest_again = (post({}, "m") for _ in range(2))

    assert (part.status_code, part.json()["kind"], part.json()["amount"]) == (200, "refund", "0.5")
    assert again.json() == part.json()
    assert {response.status_code for response in refused} == {400}
    assert (rest.json()["amount"], rest_again.json()) == ("2.5", rest.json())
    assert balance(alice) == 100 * CREDIT


def test_by_a_button(admin: User, alice: User) -> None:
    execution = charged(alice)
    client = Client()
    client.force_login(admin)
    address = reverse("admin:executions_execution_refund", args=[execution.pk])
    for key, amount in ((1, "1"), (1, "1"), (2, "2.1")):
        client.post(address, {**SUBMIT, "once": str(UUID(int=key)), "amount": amount, "note": ""})

    assert balance(alice) == 98 * CREDIT


@pytest.mark.django_db(transaction=True)
def test_refunds_at_the_same_time_never_give_back_more_than_was_charged() -> None:
    user, admin = make_user(credits=100), make_user("admin")
    execution = charged(user)
    codes: list[str] = []

    def refund(number: int) -> None:
        try:
            refund_execution(actor=admin, execution=execution, amount=CREDIT, key=f"k{number}")
        except DomainError as error:
            codes.append(error.code)
        connection.close()

    threads = [threading.Thread(target=refund, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert codes == ["execution_not_refundable"] * 3
    assert balance(user) == 100 * CREDIT
