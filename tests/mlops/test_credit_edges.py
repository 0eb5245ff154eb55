"""Granting and refunding through REST and the admin: what is not an amount changes nothing, a key gives once."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance
from tests.conftest import api_of

pytestmark = pytest.mark.django_db
CREDIT = 10**6
SUBMIT = {"_form_submitted": "true", "once": "0190f000-0000-7000-8000-000000000001"}
VERBS = ("grant_credits", "refund_credits")
NOT_AMOUNTS = [
    "-1", -1, "0", 0, "NaN", "nan", "Infinity", "-inf", "1e3", "1,5", "", " ", "0x10", "\N{ARABIC-INDIC DIGIT ONE}",
    True, False, None, [], {}, 1.5, "1.0000001", 10**9 + 1, "1000000001", "9" * 30, 10**40,
]  # fmt: skip


def balance(user: User) -> int:
    user.refresh_from_db()
    assert user.ml_credits == proven_balance(user)
    return user.ml_credits


@pytest.fixture
def client(admin: User) -> APIClient:
    return api_of(admin)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("amount", NOT_AMOUNTS, ids=repr)
def test_what_is_not_an_amount_moves_nothing(client: APIClient, alice: User, verb: str, amount: Any) -> None:
    response = client.post(f"/api/v1/users/{alice.pk}/{verb}/", {"credits": amount})

    assert response.status_code == 400, response.content
    assert response.json()["errors"][0]["field"] in ("credits", "amount")
    assert balance(alice) == 100 * CREDIT


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("text", ['{"credits": NaN}', '{"credits": Infinity}', '{"credits": 1e400}', '{"credits"'])
def test_json_that_is_none_moves_nothing(client: APIClient, alice: User, verb: str, text: str) -> None:
    address = f"/api/v1/users/{alice.pk}/{verb}/"
    response = client.generic("POST", address, text, content_type="application/json")

    assert response.status_code == 400
    assert balance(alice) == 100 * CREDIT


@pytest.mark.parametrize(("verb", "kind"), [("grant_credits", "grant"), ("refund_credits", "refund")])
def test_a_key_gives_once_and_other_content_is_a_conflict(
    client: APIClient, alice: User, bob: User, verb: str, kind: str
) -> None:
    def post(user: User, amount: str, key: str = "once") -> Any:
        body = {"credits": amount, "note": "so"}
        return client.post(f"/api/v1/users/{user.pk}/{verb}/", body, headers={"Idempotency-Key": key})

    first, again = post(alice, "2.5"), post(alice, "2.5")
    conflicts = [post(alice, "2.6"), post(bob, "2.5")]

    assert (first.status_code, first.json()["kind"], first.json()["amount"]) == (200, kind, "2.5")
    assert again.json() == first.json()
    assert [(one.status_code, one.json()["code"]) for one in conflicts] == [(409, "credit_key_reused")] * 2
    assert (balance(alice), balance(bob)) == (102_500_000, 100 * CREDIT)
    assert post(alice, "2.5", key="twice").status_code == 200
    assert balance(alice) == 105 * CREDIT


def test_the_same_key_of_a_grant_and_of_a_refund_are_two(client: APIClient, alice: User) -> None:
    for verb in VERBS:
        address = f"/api/v1/users/{alice.pk}/{verb}/"
        assert client.post(address, {"credits": "1"}, headers={"Idempotency-Key": "k"}).status_code == 200
    assert balance(alice) == 102 * CREDIT


@pytest.mark.parametrize("verb", VERBS)
def test_only_admins_move_credits(alice: User, bob: User, erin: User, verb: str) -> None:
    for actor, user, status in ((alice, alice, 403), (alice, bob, 404), (erin, erin, 403), (erin, alice, 404)):
        response = api_of(actor).post(f"/api/v1/users/{user.pk}/{verb}/", {"credits": "NaN"})
        assert response.status_code == status, response.content
    assert not CreditEntry.objects.filter(granted_by__in=[alice, erin]).exists()


@pytest.mark.parametrize("button", VERBS)
@pytest.mark.parametrize("amount", ["-1", "0", "NaN", "Infinity", "1e3", "", "1.0000001", "1000000001", "9" * 39])
def test_the_admin_refuses_what_is_not_an_amount(admin: User, alice: User, button: str, amount: str) -> None:
    client = Client()
    client.force_login(admin)
    response = client.post(reverse(f"admin:mlops_user_{button}", args=[alice.pk]), {**SUBMIT, "amount": amount})

    assert response.status_code in (200, 302)
    assert balance(alice) == 100 * CREDIT


@pytest.mark.parametrize(("button", "kind"), [("grant_credits", "grant"), ("refund_credits", "refund")])
def test_the_admin_moves_credits_by_buttons(admin: User, alice: User, button: str, kind: str) -> None:
    client = Client()
    client.force_login(admin)
    client.post(reverse(f"admin:mlops_user_{button}", args=[alice.pk]), {**SUBMIT, "amount": "2.5", "note": "so"})

    line = CreditEntry.objects.filter(user=alice, kind=kind).latest("pk")
    assert (line.amount, line.note, line.granted_by) == (2_500_000, "so", admin)
    assert balance(alice) == 102_500_000


@pytest.mark.parametrize("button", VERBS)
def test_a_dialog_that_is_sent_twice_pays_once(admin: User, alice: User, button: str) -> None:
    client = Client()
    client.force_login(admin)
    address = reverse(f"admin:mlops_user_{button}", args=[alice.pk])
    opened, opened_again = (client.get(address).context["form"]["once"].value() for _ in range(2))

    answers = [
        client.post(address, {**SUBMIT, "once": key, "amount": amount, "note": ""}, follow=True)
        for key, amount in ((opened, "1"), (opened, "1"), (opened, "2"), (opened_again, "1"))
    ]

    assert balance(alice) == 102 * CREDIT
    said = [[str(message) for message in answer.context["messages"]] for answer in answers]
    assert said[0] == said[1] == said[3]
    assert said[2] == ["This idempotency key stands for another ledger line."]


def test_a_dialog_without_its_key_pays_nothing(admin: User, alice: User) -> None:
    client = Client()
    client.force_login(admin)
    for key in ("", "again", "0" * 200):
        form = {"_form_submitted": "true", "amount": "1", "once": key}
        assert client.post(reverse("admin:mlops_user_grant_credits", args=[alice.pk]), form).status_code == 200

    assert balance(alice) == 100 * CREDIT
