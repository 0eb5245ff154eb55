"""REST of the foundation: one success and one refusal per verb; the rules are tested at the services."""

import uuid

import pytest
from django.test import Client
from rest_framework.test import APIClient

from mlops.models import ApiToken, CreditEntry, LanguageModel, User
from mlops.selectors import proven_balance
from tests.conftest import api_of
from tests.factories import make_language_model, make_price, make_token, make_user

pytestmark = pytest.mark.django_db
CANARY = "sk-canary-7f3a"


def test_without_credentials_everything_is_401(api: APIClient) -> None:
    for path in ("users", "users/me", "tokens", "credits", "language-models", "prices"):
        response = api.get(f"/api/v1/{path}/")
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.headers["Content-Type"] == "application/problem+json"


def test_a_wrong_token_is_401_whatever_the_session_says(client: Client, admin: User) -> None:
    client.force_login(admin)

    response = client.get("/api/v1/users/me/", HTTP_AUTHORIZATION="Bearer signet_wrong")

    assert (response.status_code, response.json()["code"]) == (401, "token_unknown")


def test_the_session_needs_the_csrf_token(admin: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(admin)

    assert browser.get("/api/v1/users/me/").status_code == 200
    response = browser.post("/api/v1/tokens/", {"name": "t"}, content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert not ApiToken.objects.exists()


def test_everybody_knows_themselves(alice: User) -> None:
    response = api_of(alice).get("/api/v1/users/me/")

    body = response.json()
    assert response.status_code == 200
    assert (body["username"], body["role"], body["credits"]) == ("alice", "ml_user", "100")
    assert "password" not in body


def test_people_see_themselves_and_admins_see_all(admin: User, alice: User, erin: User) -> None:
    for user, names in ((alice, {"alice"}), (erin, {"erin"}), (admin, {"alice", "erin", "admin"})):
        response = api_of(user).get("/api/v1/users/")
        assert {row["username"] for row in response.json()["results"]} == names


def test_what_one_may_not_see_is_as_missing_as_what_is_not_there(admin: User, alice: User) -> None:
    client = api_of(alice)
    answers = [client.get(f"/api/v1/users/{id}/").json() for id in (admin.pk, uuid.uuid4())]

    assert answers[0] == answers[1]
    assert (answers[0]["status"], answers[0]["code"]) == (404, "user_not_found")


def test_an_account_is_made_and_changed(admin: User) -> None:
    client = api_of(admin)

    made = client.post("/api/v1/users/", {"username": "dora", "role": "ml_engineer"})
    assert made.status_code == 201
    assert made.headers["Location"] == f"http://testserver/api/v1/users/{made.json()['id']}/"

    changed = client.patch(made.headers["Location"], {"time_zone": "Asia/Tokyo"}, HTTP_IF_MATCH=made.headers["ETag"])
    assert (changed.status_code, changed.json()["time_zone"]) == (200, "Asia/Tokyo")

    stale = client.patch(made.headers["Location"], {"time_zone": "UTC"}, HTTP_IF_MATCH=made.headers["ETag"])
    assert (stale.status_code, stale.json()["code"]) == (412, "row_changed")
    assert User.objects.get(username="dora").time_zone == "Asia/Tokyo"


def test_everything_wrong_with_a_body_is_named_at_once(admin: User) -> None:
    response = api_of(admin).post("/api/v1/users/", {"username": 5, "role": "king", "colour": "red"})

    assert response.status_code == 400
    assert {(row["field"], row["code"]) for row in response.json()["errors"]} == {("colour", "unknown_field")}

    response = api_of(admin).post("/api/v1/users/", {"username": ["x"], "role": "king"})
    assert {(row["field"], row["code"]) for row in response.json()["errors"]} == {
        ("username", "invalid"),
        ("role", "invalid_choice"),
    }


def test_a_name_that_is_taken_is_409(admin: User) -> None:
    response = api_of(admin).post("/api/v1/users/", {"username": "admin"})

    assert (response.status_code, response.json()["code"]) == (409, "username_taken")
    assert response.json()["errors"] == [
        {"field": "username", "code": "username_taken", "message": "This user name is taken."}
    ]


def test_engineers_see_themselves_and_may_not_change_their_role(erin: User) -> None:
    response = api_of(erin).patch(f"/api/v1/users/{erin.pk}/", {"role": "admin"})

    assert (response.status_code, response.json()["code"]) == (403, "user_change_forbidden")
    erin.refresh_from_db()
    assert erin.role == "ml_engineer"


def test_credits_are_granted_once_per_key(admin: User, alice: User) -> None:
    client, path = api_of(admin), f"/api/v1/users/{alice.pk}/grant_credits/"

    answers = [client.post(path, {"credits": "2.5"}, HTTP_IDEMPOTENCY_KEY="k") for _ in range(2)]
    other = client.post(path, {"credits": "3"}, HTTP_IDEMPOTENCY_KEY="k")

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["amount"] == "2.5"
    assert (other.status_code, other.json()["code"]) == (409, "credit_key_reused")
    assert proven_balance(alice) == 102_500_000


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0", "credit_amount_invalid"),
        ("-1", "credit_amount_invalid"),
        ("1e30", "decimal_invalid"),
        ("NaN", "decimal_invalid"),
        ("0.0000001", "decimal_too_precise"),
        (1.5, "decimal_invalid"),
        (True, "decimal_invalid"),
        (None, "null"),
        ({}, "decimal_invalid"),
    ],
)
def test_bad_amounts_are_400(admin: User, alice: User, amount: object, code: str) -> None:
    response = api_of(admin).post(f"/api/v1/users/{alice.pk}/grant_credits/", {"credits": amount})

    assert (response.status_code, response.json()["code"]) == (400, code)
    assert proven_balance(alice) == 100_000_000


def test_people_grant_themselves_nothing(alice: User) -> None:
    response = api_of(alice).post(f"/api/v1/users/{alice.pk}/grant_credits/", {"credits": "5"})

    assert (response.status_code, response.json()["code"]) == (403, "user_grant_credits_forbidden")
    assert CreditEntry.objects.count() == 1


def test_the_ledger_shows_ones_own_lines(admin: User, alice: User, bob: User) -> None:
    assert [row["amount"] for row in api_of(alice).get("/api/v1/credits/").json()["results"]] == ["100"]
    assert len(api_of(admin).get("/api/v1/credits/").json()["results"]) == 2
    assert api_of(alice).get(f"/api/v1/credits/?user={bob.pk}").json()["results"] == []
    assert api_of(alice).post("/api/v1/credits/", {}).status_code == 405


def test_an_account_is_closed_and_forgotten(admin: User, alice: User) -> None:
    client = api_of(admin)

    assert client.post(f"/api/v1/users/{alice.pk}/deactivate/").json()["is_active"] is False
    assert client.post(f"/api/v1/users/{alice.pk}/anonymise/").json()["username"].startswith("anonymous-")
    assert api_of(make_user()).post(f"/api/v1/users/{alice.pk}/deactivate/").status_code == 404


def test_a_token_is_shown_once_used_and_revoked(alice: User) -> None:
    made = api_of(alice).post("/api/v1/tokens/", {"name": "laptop"})
    raw = made.json()["token"]
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")

    shown = client.get(f"/api/v1/tokens/{made.json()['id']}/").json()
    assert "token" not in shown
    assert "digest" not in shown

    assert client.post(f"/api/v1/tokens/{made.json()['id']}/revoke/").status_code == 200
    assert client.get("/api/v1/users/me/").status_code == 401


def test_tokens_of_others_are_missing(alice: User, charlie: User) -> None:
    token = make_token(alice)[0]

    assert api_of(charlie).post(f"/api/v1/tokens/{token.pk}/revoke/").status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


def test_a_language_model_lives_through_its_verbs(admin: User) -> None:
    client, stand_in = api_of(admin), make_language_model()

    made = client.post("/api/v1/language-models/", {"name": "openai/new", "parameters": {"temperature": 0}})
    path = made.headers["Location"]
    assert made.status_code == 201

    assert client.post(f"{path}set_secret/", {"value": CANARY}).json()["has_secret"] is True
    assert client.post(f"{path}set_fallbacks/", {"fallbacks": [str(stand_in.pk)]}).json()["fallbacks"] == [
        str(stand_in.pk)
    ]
    assert client.post(f"{path}set_default/").json()["is_default"] is True
    assert client.patch(path, {"timeout_s": 5}).json()["timeout_s"] == 5
    assert client.delete(path).json()["code"] == "language_model_is_default"
    client.post(f"/api/v1/language-models/{stand_in.pk}/set_default/")
    assert client.delete(path).status_code == 204


def test_a_secret_comes_back_nowhere(admin: User, erin: User) -> None:
    model, client = make_language_model(), api_of(admin)
    path = f"/api/v1/language-models/{model.pk}/"

    answers = [
        client.post(f"{path}set_secret/", {"value": CANARY}),
        client.post(f"{path}set_secret/", {"value": CANARY, "variable": "SIGNET_LM_X"}),
        client.post(f"{path}set_secret/", {"value": CANARY + "\n"}),
        client.post(f"{path}set_secret/", {"secret": CANARY}),
        client.patch(path, {"parameters": {"api_key": CANARY}}),
        client.get(path),
        client.get("/api/v1/language-models/"),
        api_of(erin).get(path),
    ]

    model.refresh_from_db()
    assert model.secret
    for answer in answers:
        assert CANARY not in answer.content.decode()
        assert model.secret not in answer.content.decode()


def test_ml_users_see_no_language_models(alice: User) -> None:
    model = make_language_model()
    make_price(model)
    client = api_of(alice)

    assert client.get("/api/v1/language-models/").json()["results"] == []
    assert client.get("/api/v1/prices/").json()["results"] == []
    assert client.post("/api/v1/language-models/", {"name": "openai/new"}).status_code == 403
    assert client.delete(f"/api/v1/language-models/{model.pk}/").status_code == 404
    assert LanguageModel.objects.count() == 1


def test_prices_are_decimal_strings_of_dollars(admin: User, erin: User) -> None:
    model = make_language_model()
    body = {
        "language_model": str(model.pk),
        "valid_from": "2026-01-01T00:00:00Z",
        "input_price": "0.4",
        "cached_input_price": "0.10",
        "output_price": "1.6",
    }

    made = api_of(admin).post("/api/v1/prices/", body)

    assert made.status_code == 201
    row = model.prices.get()
    assert (row.input_price, row.cached_input_price, row.output_price) == (400_000, 100_000, 1_600_000)
    listed = api_of(erin).get(f"/api/v1/prices/?language_model={model.pk}").json()["results"]
    assert [(price["input_price"], price["cached_input_price"]) for price in listed] == [("0.4", "0.1")]
    assert api_of(erin).post("/api/v1/prices/", body).status_code == 403


def test_lists_of_language_models_take_the_same_queries_whatever_their_length(
    erin: User, django_assert_max_num_queries: object
) -> None:
    client = api_of(erin)
    client.get("/api/v1/users/me/")
    for _ in range(30):
        make_language_model()

    with django_assert_max_num_queries(2):  # type: ignore[operator]  # rows, fallbacks
        assert len(client.get("/api/v1/language-models/").json()["results"]) == 30
