"""The pages of a record's history in the admin."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone

from mlops.models import LanguageModel, User
from mlops.services.language_models import delete_language_model, set_secret, update_language_model
from mlops.services.prices import delete_price
from tests.factories import make_language_model, make_price

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client: Client, admin: User) -> Client:
    client.force_login(admin)
    return client


@pytest.fixture
def model(admin: User) -> LanguageModel:
    model = make_language_model(timeout_s=60)
    return update_language_model(actor=admin, model=model, fields={"timeout_s": 5, "parameters": {"stop": ["n" * 90]}})


def page(model: LanguageModel, rest: str = "") -> str:
    return f"/admin/mlops/languagemodel/{model.pk}/history/{rest}"


def numbers(model: LanguageModel) -> list[int]:
    return list(model.history.order_by("history_id").values_list("history_id", flat=True))


def test_the_list_tells_who_changed_what_through_which_edge(browser: Client, model: LanguageModel) -> None:
    shown = browser.get(page(model)).content.decode()
    for text in ("change", "admin", "Python", "<del>60.0</del> → <ins>5.0</ins>", "<summary>parameters</summary>"):
        assert text in shown


def test_the_way_to_a_time(browser: Client, model: LanguageModel) -> None:
    now = timezone.localtime().strftime("%Y-%m-%dT%H:%M:%S")
    far = browser.get(page(model), {"as_of": "2999-01-01T00:00:00"})
    assert far.headers["Location"] == page(model, f"{numbers(model)[-1]}/")
    for told in ("1999-01-01T00:00:00", "soon", "", now[:4], "9999-12-31T23:59:59-23:59", "0001-01-01T00:00+23:59"):
        answer = browser.get(page(model), {"as_of": told})
        assert (answer.status_code, answer.headers["Location"]) == (302, page(model))


def test_two_states_are_compared_whichever_is_named_first(browser: Client, model: LanguageModel) -> None:
    oldest, newest = numbers(model)
    for query in ({"older": oldest, "newer": newest}, {"older": newest, "newer": oldest}):
        shown = browser.get(page(model), query).content.decode()
        assert "<h2>Between" in shown
    for strange in ("x", "-1", "9" * 30):
        assert "<h2>Between" not in browser.get(page(model), {"older": strange, "newer": str(newest)}).content.decode()


def test_the_button_puts_back(browser: Client, model: LanguageModel, admin: User) -> None:
    oldest = numbers(model)[0]
    shown = browser.get(page(model, f"{oldest}/")).content.decode()
    assert "Putting it back changes: parameters, timeout (s)." in shown

    answer = browser.post(page(model, f"{oldest}/"))

    assert answer.headers["Location"] == f"/admin/mlops/languagemodel/{model.pk}/change/"
    latest = LanguageModel.objects.get(pk=model.pk).history.latest()
    assert (latest.timeout_s, latest.history_change_reason, latest.history_source) == (60, "revert", "admin")


def test_who_may_not_change_the_record_cannot_put_it_back(client: Client, model: LanguageModel, erin: User) -> None:
    client.force_login(erin)
    oldest, newest = numbers(model)
    answer = client.post(page(model, f"{oldest}/"))
    assert [str(message) for message in get_messages(answer.wsgi_request)] == ["You are not allowed to do this."]
    assert numbers(model) == [oldest, newest]


def test_what_is_never_changed_offers_no_way_back(browser: Client) -> None:
    price = make_price(make_language_model())
    state = price.history.latest().history_id
    shown = browser.get(f"/admin/mlops/modelprice/{price.pk}/history/{state}/").content.decode()
    assert "Put back" not in shown


def test_no_page_shows_a_secret(browser: Client, model: LanguageModel, admin: User) -> None:
    set_secret(actor=admin, model=model, value="sk-canary-27182")
    pages = [browser.get(page(model)), *(browser.get(page(model, f"{number}/")) for number in numbers(model))]
    assert all(answer.status_code == 200 and b"27182" not in answer.content for answer in pages)


def test_records_that_there_are_not(browser: Client, model: LanguageModel) -> None:
    assert browser.get("/admin/mlops/languagemodel/nonsense/history/").status_code == 404
    for strange in ("0", "9" * 40, "x"):
        assert browser.get(page(model, f"{strange}/")).headers["Location"] == page(model)


def test_the_list_leads_to_what_has_been_deleted(browser: Client, model: LanguageModel, admin: User) -> None:
    price = make_price(model, valid_from=timezone.now() + timedelta(days=1))
    delete_price(actor=admin, price=price)
    delete_language_model(actor=admin, model=model)  # whose name a price would say
    deleted = {kind: f"/admin/mlops/{kind}/deleted/" for kind in ("languagemodel", "modelprice")}

    for kind, record in (("languagemodel", model), ("modelprice", price)):
        assert f'href="{deleted[kind]}"' in browser.get(f"/admin/mlops/{kind}/").content.decode()
        history = f"/admin/mlops/{kind}/{record.pk}/history/"
        assert f'href="{history}"' in browser.get(deleted[kind]).content.decode()
        assert "It has been deleted." in browser.get(history).content.decode()
        state = record.history.order_by("history_id").values_list("history_id", flat=True)[0]
        shown = browser.get(f"{history}{state}/").content.decode()
        assert "The record has been deleted." in shown
        assert "Put back" not in shown
        assert browser.post(f"{history}{state}/").headers["Location"] == history
    assert not LanguageModel.objects.exists()
