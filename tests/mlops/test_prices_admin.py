"""The price book in the admin site: entered by people, imported from the map, every write a service call."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from mlops.models import LanguageModel, ModelPrice, User
from tests.factories import make_language_model, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def page(model: str, verb: str, *args: object) -> str:
    return reverse(f"admin:mlops_{model}_{verb}", args=args)


def test_a_price_that_is_entered_late_says_what_it_leaves(browser: Client) -> None:
    model = make_language_model()
    LanguageModel.objects.filter(pk=model.pk).update(created_at=timezone.now() - timedelta(days=9))
    moment = timezone.now() - timedelta(days=1)
    body = {
        "model": model.pk,
        "valid_from_0": f"{moment:%Y-%m-%d}",
        "valid_from_1": "00:00:00",
        "input_price": "0.4",
        "cached_input_price": "0.1",
        "cache_write_price": "0.5",
        "output_price": "1.6",
        "request_price": "0.005",
        "input_limit": "200000",
    }
    answer = browser.post(page("modelprice", "add"), body, follow=True)
    row = model.prices.get()
    assert (row.cache_write_price, row.reasoning_price, row.request_price) == (500_000, None, 5_000_000_000)
    assert (row.input_limit, row.source) == (200_000, "")
    assert any("repriced" in str(message) for message in answer.context["messages"])


def test_list_prices_are_shown_before_they_are_added(browser: Client) -> None:
    listed, unlisted = make_language_model(name="openai/gpt-4o-mini"), make_language_model(name="openai/nobody")
    address = "/admin/mlops/modelprice/import/"

    shown = browser.get(address).content.decode()
    assert "0.15 / 0.075 / - / 0.6 / -" in shown
    assert "openai/nobody" in shown
    assert not ModelPrice.objects.exists()

    assert browser.post(address).status_code == 302
    assert listed.prices.get().input_price == 150_000
    assert not unlisted.prices.exists()


def test_only_admins_import_prices(client: Client) -> None:
    client.force_login(make_user("ml_engineer"))
    make_language_model(name="openai/gpt-4o-mini")
    assert "modelprice/import" not in client.get(page("modelprice", "changelist")).content.decode()
    assert client.post("/admin/mlops/modelprice/import/").status_code == 403
    assert not ModelPrice.objects.exists()


@pytest.mark.parametrize(("name", "is_known"), [("openai/gpt-4o-mini", True), ("openai/nobody", False)])
def test_a_new_model_has_a_price_or_says_that_it_has_none(browser: Client, name: str, is_known: bool) -> None:
    body = {
        "name": name,
        "kind": "chat",
        "parameters": "{}",
        "timeout_s": "60",
        "deadline_s": "120",
        "max_retries": "2",
        "concurrency_limit": "256",
    }
    answer = browser.post(page("languagemodel", "add"), body, follow=True)
    warned = any("No price" in str(message) for message in answer.context["messages"])
    assert (LanguageModel.objects.get().prices.exists(), warned) == (is_known, not is_known)
