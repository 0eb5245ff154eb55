"""Repricing over REST, in the admin site and on the command line."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from executions.models import CostCorrection, Execution, Repricing
from executions.services.repricing import work_repricings
from mlops.models import LanguageModel, ModelPrice, User
from tests.executions.rows import make_prompt_set
from tests.executions.test_repricing import DAY, SINCE, START, UNTIL, USAGE, price, ran
from tests.factories import make_language_model, make_user

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/repricings/"
PERIOD = {"since": SINCE.isoformat(), "until": UNTIL.isoformat()}


@pytest.fixture
def model() -> LanguageModel:
    return make_language_model(name="openai/m")


@pytest.fixture
def execution(admin: User, model: LanguageModel) -> Execution:
    """One that was charged by a price which has been corrected since."""
    charged = ran(make_prompt_set(), START, {"openai/m": (USAGE, price(admin, model, START - DAY, 10))})
    price(admin, model, START, 4)
    return charged


@pytest.fixture
def client(admin: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(admin)
    return client


def read(client: APIClient, id: str) -> dict[str, Any]:
    (row,) = [row for row in client.get(ADDRESS).json()["results"] if row["id"] == id]
    return dict(row)


def test_from_preview_to_correction_over_rest(client: APIClient, execution: Execution, model: LanguageModel) -> None:
    asked = client.post(ADDRESS, {**PERIOD, "language_model": str(model.pk)}, format="json")
    assert (asked.status_code, asked.json()["state"], asked.json()["dry_run"]) == (202, "pending", True)
    assert asked.headers["Location"].endswith(f"{ADDRESS}{asked.json()['id']}/")
    work_repricings()
    shown = read(client, asked.json()["id"])
    assert (shown["state"], shown["changed"]) == ("completed", 1)
    assert (shown["cost_before_usd"], shown["cost_after_usd"]) == ("0.000000011", "0.0000000044")

    applied = client.post(f"{ADDRESS}{shown['id']}/apply/", headers={"Idempotency-Key": "once"})
    again = client.post(f"{ADDRESS}{shown['id']}/apply/", headers={"Idempotency-Key": "once"})
    assert (applied.status_code, again.json()["id"]) == (202, applied.json()["id"])
    work_repricings()
    refused = client.post(f"{ADDRESS}{shown['id']}/apply/")
    assert (refused.status_code, refused.json()["code"]) == (409, "repricing_applied")

    assert Execution.objects.get(pk=execution.pk).cost == 4_400
    (correction,) = client.get("/api/v1/cost-corrections/", {"execution": str(execution.pk)}).json()["results"]
    assert (correction["cost_before_usd"], correction["cost_after_usd"]) == ("0.000000011", "0.0000000044")
    assert correction["prices_before"] == execution.prices


def test_cancelling_over_rest(client: APIClient) -> None:
    row = client.post(ADDRESS, PERIOD, format="json").json()
    answer = client.post(f"{ADDRESS}{row['id']}/cancel/")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert client.post(f"{ADDRESS}{row['id']}/apply/").json()["code"] == "repricing_not_applicable"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"until": PERIOD["since"]}, "since"),
        ({"since": "9999-12-31T23:59:59-14:00"}, "since"),
        ({"since": "soon"}, "since"),
        ({"program": "a\0b"}, "program"),
        ({"language_model": "m"}, "language_model"),
        ({"dry_run": False}, "dry_run"),
    ],
)
def test_bad_bodies(client: APIClient, fields: dict[str, Any], field: str) -> None:
    answer = client.post(ADDRESS, {**PERIOD, **fields}, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    assert not Repricing.objects.exists()


def test_engineers_look_and_users_do_not_know(client: APIClient) -> None:
    row = client.post(ADDRESS, PERIOD, format="json").json()
    client.force_authenticate(make_user("ml_engineer"))
    assert read(client, row["id"])["id"] == row["id"]
    for path in ("", f"{row['id']}/apply/", f"{row['id']}/cancel/"):
        assert client.post(f"{ADDRESS}{path}", PERIOD, format="json").status_code == 403
    client.force_authenticate(make_user())
    assert client.get(ADDRESS).json()["results"] == []
    assert client.post(f"{ADDRESS}{row['id']}/cancel/").status_code == 404
    assert Repricing.objects.get().state == "pending"


def test_the_admin_site_shows_and_applies(admin: User, execution: Execution) -> None:
    browser = Client()
    browser.force_login(admin)
    body = {
        "since_0": f"{SINCE:%Y-%m-%d}",
        "since_1": "00:00:00",
        "until_0": f"{UNTIL:%Y-%m-%d}",
        "until_1": "00:00:00",
    }
    browser.post(reverse("admin:executions_repricing_add"), body)
    work_repricings()
    shown = Repricing.objects.get()
    page = reverse("admin:executions_repricing_change", args=[shown.pk])
    assert "$ 0.0000000044" in browser.get(page).content.decode()

    press = reverse("admin:executions_repricing_apply", args=[shown.pk])
    assert press in browser.get(page).content.decode()
    browser.post(press, {"_form_submitted": "true"})
    work_repricings()

    assert Execution.objects.get(pk=execution.pk).cost == 4_400
    assert press not in browser.get(page).content.decode()
    for name in ("repricing", "costcorrection"):
        assert browser.get(reverse(f"admin:executions_{name}_changelist")).status_code == 200
    correction = reverse("admin:executions_costcorrection_change", args=[CostCorrection.objects.get().pk])
    assert "$ 0.000000011" in browser.get(correction).content.decode()


def test_the_command_shows_and_applies(admin: User, execution: Execution) -> None:
    said = StringIO()
    options = ["--since", PERIOD["since"], "--until", PERIOD["until"], "--user"]
    call_command("reprice", *options, admin.username, stdout=said)
    assert "1 of 1 executions change, 0 of them had no cost: $ 0.000000011 -> $ 0.0000000044" in said.getvalue()
    assert not CostCorrection.objects.exists()
    call_command("reprice", "--apply", *options, admin.username, stdout=said)
    assert Execution.objects.get(pk=execution.pk).cost == 4_400
    with pytest.raises(CommandError):
        call_command("reprice", *options, "nobody")


def test_the_command_imports_list_prices() -> None:
    model, said = make_language_model(name="openai/gpt-4o-mini"), StringIO()
    call_command("import_prices", "--dry-run", stdout=said)
    assert "openai/gpt-4o-mini: added; - -> 0.15 / 0.075 / 0.6" in said.getvalue()
    assert not ModelPrice.objects.exists()
    call_command("import_prices", "openai/gpt-4o-mini", stdout=said)
    assert model.prices.get().output_price == 600_000
    with pytest.raises(CommandError):
        call_command("import_prices", "openai/nobody")
