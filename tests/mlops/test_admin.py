"""The admin as an edge: what it shows, what it refuses, and that every write is a service call."""

import re

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils.safestring import mark_safe

from mlops.admin import links
from mlops.models import ApiToken, CreditEntry, LanguageModel, User
from mlops.selectors import proven_balance
from mlops.services.language_models import set_default
from tests.factories import make_language_model, make_price, make_token, make_user

pytestmark = pytest.mark.django_db
CANARY = "sk-canary-7f3a"
PAGES = ("user", "apitoken", "creditentry", "languagemodel", "modelprice")
SUBMIT = {"_form_submitted": "true"}
ONCE = {"once": "0190f000-0000-7000-8000-000000000001"}


@pytest.fixture
def browser(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def page(model: str, verb: str, *args: object) -> str:
    return reverse(f"admin:mlops_{model}_{verb}", args=args)


def test_every_list_and_page_opens(browser: Client, admin: User, alice: User) -> None:
    model = make_language_model()
    rows = {
        "user": alice,
        "apitoken": make_token(admin)[0],
        "creditentry": alice.credit_entries.get(),
        "languagemodel": model,
        "modelprice": make_price(model),
    }

    for name in PAGES:
        assert browser.get(page(name, "changelist")).status_code == 200
        assert browser.get(page(name, "change", rows[name].pk)).status_code == 200
    for name in ("user", "languagemodel"):
        assert browser.get(page(name, "history", rows[name].pk)).status_code == 200
    assert browser.get(reverse("admin:index")).status_code == 200
    assert browser.get(reverse("admin:auth_group_changelist")).status_code == 200


def test_the_login_page_opens_and_lets_staff_in(client: Client, admin: User) -> None:
    login = reverse("admin:login")
    assert client.get(login).status_code == 200

    response = client.post(login, {"username": "admin", "password": "a-long-password"})

    assert response.status_code == 302


def test_ml_users_are_kept_out(client: Client, alice: User) -> None:
    client.force_login(alice)

    for name in PAGES:
        response = client.get(page(name, "changelist"))
        assert (response.status_code, response.headers["Location"].partition("?")[0]) == (302, reverse("admin:login"))


def test_engineers_see_their_own_account_and_all_models(erin: User, alice: User) -> None:
    client, model = Client(), make_language_model()
    client.force_login(erin)

    assert client.get(page("languagemodel", "change", model.pk)).status_code == 200
    assert client.get(page("user", "change", alice.pk)).status_code == 302
    assert client.post(page("languagemodel", "change", model.pk), {"api_base": "http://x"}).status_code == 403
    assert client.post(page("languagemodel", "add"), {"name": "openai/new"}).status_code == 403
    assert client.post(page("languagemodel", "delete", model.pk), {"post": "yes"}).status_code == 403
    assert LanguageModel.objects.get() == model


def test_an_account_is_made_and_changed_by_services(browser: Client, admin: User) -> None:
    browser.post(page("user", "add"), {"username": "dora", "role": "ml_engineer", "time_zone": "UTC"})
    dora = User.objects.get(username="dora")
    assert dora.history.get().history_change_reason == "create"

    browser.post(page("user", "change", dora.pk), {"role": "ml_user", "time_zone": "Asia/Tokyo"})

    dora.refresh_from_db()
    assert (dora.role, dora.time_zone) == ("ml_user", "Asia/Tokyo")
    latest = dora.history.latest()
    assert (latest.history_change_reason, latest.history_user) == ("change", admin)


def test_a_refusal_keeps_the_form_and_names_the_field(browser: Client, admin: User) -> None:
    response = browser.post(page("user", "change", admin.pk), {"role": "ml_user", "time_zone": "Asia/Tokyo"})

    html = response.content.decode()
    assert response.status_code == 200
    assert "This is the last admin of the installation." in html
    assert 'value="Asia/Tokyo"' in html
    admin.refresh_from_db()
    assert (admin.role, admin.time_zone) == ("admin", "UTC")


def test_a_button_acts_on_post_alone(browser: Client, alice: User) -> None:
    address = page("user", "deactivate", alice.pk)

    dialog = browser.get(address)
    alice.refresh_from_db()
    assert "No login and no token" in dialog.content.decode()
    assert alice.is_active

    response = browser.post(address, SUBMIT, HTTP_HX_REQUEST="true")
    alice.refresh_from_db()
    assert (response.status_code, response.headers["HX-Redirect"]) == (204, page("user", "change", alice.pk))
    assert not alice.is_active


def test_a_button_needs_the_csrf_token(admin: User, alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)

    assert client.post(page("user", "deactivate", alice.pk), SUBMIT).status_code == 403
    alice.refresh_from_db()
    assert alice.is_active


def test_a_button_is_offered_only_where_it_helps(browser: Client, alice: User) -> None:
    address = page("user", "deactivate", alice.pk)
    assert address in browser.get(page("user", "change", alice.pk)).content.decode()

    browser.post(address, SUBMIT)

    assert address not in browser.get(page("user", "change", alice.pk)).content.decode()


def test_a_forged_button_is_refused(erin: User) -> None:
    client, model = Client(), make_language_model()
    client.force_login(erin)

    response = client.post(page("languagemodel", "set_default", model.pk), SUBMIT, follow=True)

    assert "You are not allowed to do this." in response.content.decode()
    model.refresh_from_db()
    assert not model.is_default
    assert client.post(page("user", "deactivate", make_user().pk), SUBMIT).status_code == 404


def test_credits_are_granted(browser: Client, admin: User, alice: User) -> None:
    browser.post(page("user", "grant_credits", alice.pk), {**SUBMIT, **ONCE, "amount": "2.5", "note": "thanks"})

    line = CreditEntry.objects.get(user=alice, note="thanks")
    assert (line.amount, line.granted_by) == (2_500_000, admin)
    assert proven_balance(alice) == 102_500_000


def test_a_bad_amount_stays_in_the_dialog(browser: Client, alice: User) -> None:
    for amount in ("-1", "0.0000001", "much"):
        response = browser.post(page("user", "grant_credits", alice.pk), {**SUBMIT, **ONCE, "amount": amount})
        assert response.status_code == 200
        assert 'id="dialog-form"' in response.content.decode()

    assert proven_balance(alice) == 100_000_000


def test_a_token_is_shown_once(browser: Client, admin: User) -> None:
    first = browser.post(page("apitoken", "add"), {"name": "laptop", "scopes": ["read"]}, follow=True).content.decode()

    found = re.search(r"signet_[0-9a-f]{8}_[0-9a-f]{48}", first)
    assert found is not None
    token = ApiToken.objects.get()
    assert token.user == admin
    assert found.group() not in browser.get(page("apitoken", "change", token.pk)).content.decode()
    assert token.digest not in browser.get(page("apitoken", "change", token.pk)).content.decode()


def test_tokens_are_revoked_in_bulk(browser: Client, alice: User) -> None:
    tokens = [make_token(alice)[0] for _ in range(2)]

    browser.post(
        page("apitoken", "changelist"),
        {"action": "revoke_selected", "_selected_action": [str(token.pk) for token in tokens]},
    )

    assert ApiToken.objects.filter(revoked_at=None).count() == 0


def test_the_ledger_cannot_be_written(browser: Client, alice: User) -> None:
    line = alice.credit_entries.get()

    assert browser.get(page("creditentry", "add")).status_code == 403
    assert browser.post(page("creditentry", "change", line.pk), {"note": "x"}).status_code == 403
    assert browser.post(page("creditentry", "delete", line.pk), {"post": "yes"}).status_code == 403


def test_a_secret_goes_in_and_never_comes_out(browser: Client) -> None:
    model = make_language_model()

    answers = [
        browser.post(page("languagemodel", "set_secret", model.pk), {**SUBMIT, "value": CANARY}, follow=True),
        browser.post(
            page("languagemodel", "set_secret", model.pk), {**SUBMIT, "value": CANARY, "variable": "SIGNET_LM_A"}
        ),
        browser.get(page("languagemodel", "set_secret", model.pk)),
        browser.get(page("languagemodel", "change", model.pk)),
        browser.get(page("languagemodel", "changelist")),
        browser.get(page("languagemodel", "history", model.pk)),
    ]
    versions = [row.history_id for row in model.history.all()]
    answers += [browser.get(page("languagemodel", "simple_history", model.pk, version)) for version in versions]

    model.refresh_from_db()
    assert model.secret
    for answer in answers:
        assert CANARY not in answer.content.decode()
        assert model.secret not in answer.content.decode()


def test_a_language_model_is_written_by_services(browser: Client, admin: User) -> None:
    limits = {"timeout_s": "5", "deadline_s": "9", "max_retries": "1", "concurrency_limit": "3"}
    browser.post(page("languagemodel", "add"), {"name": "openai/new", "kind": "chat", "parameters": "{}", **limits})
    model, stand_in = LanguageModel.objects.get(), make_language_model()

    browser.post(page("languagemodel", "set_fallbacks", model.pk), {**SUBMIT, "fallbacks": f" {stand_in.name}, "})
    browser.post(page("languagemodel", "set_default", model.pk), SUBMIT)

    model.refresh_from_db()
    assert (model.timeout_s, model.is_default) == (5, True)
    assert [row.model for row in model.fallback_rows.all()] == [stand_in]
    assert set(model.history.values_list("history_change_reason", flat=True)) == {
        "create",
        "set_fallbacks",
        "set_default",
    }


def test_bad_input_of_a_language_model_keeps_the_form(browser: Client) -> None:
    limits = {"timeout_s": "5", "deadline_s": "9", "max_retries": "1", "concurrency_limit": "3"}
    body = {
        "name": "openai/new",
        "kind": "chat",
        "parameters": '{"api_key": "x"}',
        "api_base": "https://u:p@h/",
        **limits,
    }

    response = browser.post(page("languagemodel", "add"), body)

    assert "Credentials belong into the secret." in response.content.decode()
    assert not LanguageModel.objects.exists()


def test_deleting_asks_the_service(browser: Client, admin: User) -> None:
    unused, default = make_language_model(), set_default(actor=admin, model=make_language_model())

    browser.post(page("languagemodel", "delete", unused.pk), {"post": "yes"})
    refused = browser.post(page("languagemodel", "delete", default.pk), {"post": "yes"}, follow=True)

    assert "The default cannot be deleted." in refused.content.decode()
    assert LanguageModel.objects.get() == default

    bulk = {"action": "delete_selected", "_selected_action": [str(default.pk)], "post": "yes"}
    refused = browser.post(page("languagemodel", "changelist"), bulk, follow=True)
    assert "The default cannot be deleted." in refused.content.decode()
    assert LanguageModel.objects.get() == default


def test_a_price_is_typed_in_dollars(browser: Client) -> None:
    model = make_language_model()
    body = {
        "model": str(model.pk),
        "valid_from_0": "2026-01-01",
        "valid_from_1": "00:00:00",
        "input_price": "0.4",
        "cached_input_price": "0.1",
        "output_price": "1.6",
    }

    browser.post(page("modelprice", "add"), body)

    assert model.prices.get().input_price == 400_000


def test_groups_have_members(browser: Client, alice: User) -> None:
    browser.post(reverse("admin:auth_group_add"), {"name": "support", "members": [str(alice.pk)]})
    group = Group.objects.get()
    assert list(alice.groups.all()) == [group]

    browser.post(reverse("admin:auth_group_change", args=[group.pk]), {"name": "support", "members": []})
    assert not alice.groups.exists()

    browser.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})
    assert not Group.objects.exists()


def test_higher_apps_add_panels(browser: Client, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_panels", {"mlops.user": []})
    panel = links.Panel("theirs", "Their executions", lambda request, row: mark_safe(f"<p>{row.pk}!</p>"))
    links.add_panel("mlops.User", panel)

    html = browser.get(page("user", "change", alice.pk)).content.decode()

    assert "Their executions" in html
    assert f"<p>{alice.pk}!</p>" in html


def test_the_sidebar_leads_to_what_one_may_see(browser: Client, erin: User) -> None:
    for client in (browser, _logged_in(erin)):
        html = client.get(reverse("admin:index")).content.decode()
        assert [name for name in PAGES if f'href="{page(name, "changelist")}"' not in html] == []


def _logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_markup_in_names_is_escaped(browser: Client, admin: User) -> None:
    make_token(admin, name="<script>alert(1)</script>")

    assert "<script>alert(1)" not in browser.get(page("apitoken", "changelist")).content.decode()
