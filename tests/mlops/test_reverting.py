"""Records as they were, over REST and from Python, and the way back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.errors import Conflict, Forbidden, Invalid, NotFound
from mlops.models import LanguageModel, User
from mlops.models.base import new_id
from mlops.selectors.history import FieldChange, deletions, difference, history_of, state_at, with_changes
from mlops.services.groups import create_group, delete_group
from mlops.services.language_models import (
    delete_language_model,
    set_fallbacks,
    set_secret,
    update_language_model,
)
from mlops.services.prices import delete_price
from mlops.services.reverting import revert
from mlops.types import Grant, Scope
from tests.factories import make_language_model, make_price

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(admin: User) -> LanguageModel:
    """Three states: timeout 60, then 5, then 5 with two retries fewer."""
    model = make_language_model(timeout_s=60, max_retries=2)
    update_language_model(actor=admin, model=model, fields={"timeout_s": 5})
    return update_language_model(actor=admin, model=model, fields={"max_retries": 0})


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


def address(model: LanguageModel, rest: str = "") -> str:
    return f"/api/v1/language-models/{model.pk}/history/{rest}"


def numbers(model: LanguageModel) -> list[int]:
    """The numbers of its states, the oldest first."""
    return list(model.history.order_by("history_id").values_list("history_id", flat=True))


def test_each_state_tells_what_it_changed(model: LanguageModel) -> None:
    told = [(state.history_change_reason, changes) for state, changes in with_changes(list(history_of(model)))]
    assert told[0] == ("change", [FieldChange("max_retries", 2, 0)])
    assert told[1] == ("change", [FieldChange("timeout_s", 60.0, 5.0)])
    assert told[2][1] == []


def test_the_last_state_of_a_page_is_compared_with_the_one_behind_it(model: LanguageModel) -> None:
    [(_, changes)] = with_changes(list(history_of(model))[:1])
    assert changes == [FieldChange("max_retries", 2, 0)]


def test_as_of_a_time_before_the_record_there_was_none(model: LanguageModel) -> None:
    with pytest.raises(NotFound, match="no such state"):
        state_at(model, timezone.now() - timedelta(days=1))
    assert state_at(model, timezone.now()).max_retries == 0


def test_revert_is_a_new_change_of_what_differs(model: LanguageModel, admin: User) -> None:
    before = numbers(model)
    back = revert(actor=admin, row=model, state=before[0])
    assert (back.timeout_s, back.max_retries) == (60, 2)
    latest = LanguageModel.objects.get(pk=model.pk).history.latest()
    assert (latest.history_change_reason, latest.history_user) == ("revert", admin)
    assert numbers(model)[:-1] == before


def test_a_clock_that_was_set_back_does_not_mislead(model: LanguageModel, admin: User) -> None:
    oldest, middle, newest = numbers(model)
    model.history.filter(history_id=newest).update(history_date=timezone.now() - timedelta(days=1))

    assert state_at(model, timezone.now()).history_id == newest
    revert(actor=admin, row=model, state=middle)
    assert LanguageModel.objects.get(pk=model.pk).max_retries == 2
    assert numbers(model)[:-1] == [oldest, middle, newest]


def test_revert_to_what_it_is_changes_nothing(model: LanguageModel, admin: User) -> None:
    before = numbers(model)
    revert(actor=admin, row=model, state=before[-1])
    assert numbers(model) == before


def test_revert_is_judged_as_the_change_that_it_is(model: LanguageModel, admin: User, erin: User, alice: User) -> None:
    before = numbers(model)
    for actor, code in ((erin, "language_model_change_forbidden"), (alice, "history_revert_forbidden")):
        with pytest.raises(Forbidden) as refused:
            revert(actor=actor, row=model, state=before[0])
        assert refused.value.code == code
    update_language_model(actor=admin, model=model, fields={"is_enabled": False})
    update_language_model(actor=admin, model=model, fields={"is_enabled": True})
    LanguageModel.objects.filter(pk=model.pk).update(is_default=True)
    disabled = numbers(model)[-2]
    with pytest.raises(Conflict) as refused_default:
        revert(actor=admin, row=model, state=disabled)
    assert refused_default.value.code == "language_model_is_default"
    assert len(numbers(model)) == len(before) + 2


def test_the_order_of_fallbacks_is_kept_and_comes_back(model: LanguageModel, admin: User, erin: User) -> None:
    first, second = make_language_model(), make_language_model()
    set_fallbacks(actor=admin, model=model, fallbacks=[first, second])
    both = numbers(model)[-1]
    set_fallbacks(actor=admin, model=model, fallbacks=[second])
    update_language_model(actor=admin, model=model, fields={"timeout_s": 7})

    [_, (_, changes), *_] = with_changes(list(history_of(model)))
    assert changes == [FieldChange("fallbacks", [str(first.pk), str(second.pk)], [str(second.pk)])]
    with pytest.raises(Forbidden):
        revert(actor=erin, row=model, state=both)

    back = revert(actor=admin, row=model, state=both)

    assert (back.timeout_s, back.fallback_ids()) == (5, [str(first.pk), str(second.pk)])


def test_fallbacks_that_are_gone_or_refused_bring_nothing_back(model: LanguageModel, admin: User) -> None:
    stand_in = make_language_model()
    set_fallbacks(actor=admin, model=model, fallbacks=[stand_in])
    state = numbers(model)[-1]
    set_fallbacks(actor=admin, model=model, fallbacks=[])
    update_language_model(actor=admin, model=model, fields={"timeout_s": 7})
    set_fallbacks(actor=admin, model=stand_in, fallbacks=[model])
    before = numbers(model)

    with pytest.raises(Invalid) as refused:
        revert(actor=admin, row=model, state=state)
    assert refused.value.code == "fallback_cycle"

    set_fallbacks(actor=admin, model=stand_in, fallbacks=[])
    delete_language_model(actor=admin, model=stand_in)
    with pytest.raises(Conflict) as gone:
        revert(actor=admin, row=model, state=state)
    assert gone.value.code == "reference_gone"
    model.refresh_from_db()
    assert (model.timeout_s, model.fallback_ids(), numbers(model)) == (7, [], before)


def test_states_from_before_fallbacks_were_kept_do_not_remove_them(model: LanguageModel, admin: User) -> None:
    oldest = numbers(model)[0]
    set_fallbacks(actor=admin, model=model, fallbacks=[make_language_model()])
    model.history.filter(history_id=oldest).update(fallbacks=None)

    back = revert(actor=admin, row=model, state=oldest)

    assert (back.timeout_s, len(back.fallback_ids())) == (60, 1)


def test_states_of_another_record_are_none_of_this_one(model: LanguageModel, admin: User) -> None:
    other = make_language_model(name="openai/other")
    with pytest.raises(NotFound):
        revert(actor=admin, row=other, state=numbers(model)[0])


def test_records_that_are_never_changed_cannot_be_put_back(admin: User) -> None:
    price = make_price(make_language_model())
    with pytest.raises(Conflict) as refused:
        revert(actor=admin, row=price, state=price.history.latest().history_id)
    assert refused.value.code == "not_revertible"


def test_rest_lists_the_states_page_by_page(model: LanguageModel, erin: User) -> None:
    first = client_of(erin).get(address(model), {"page_size": 2}).json()
    assert [state["verb"] for state in first["results"]] == ["change", "change"]
    assert first["results"][0]["changes"] == [{"field": "max_retries", "old": 2, "new": 0}]
    assert first["results"][0]["user"] == "admin"
    assert first["results"][0]["source"] == "python"
    second = client_of(erin).get(first["next"]).json()
    assert second["next"] is None
    assert [state["state"] for state in second["results"]] == numbers(model)[:1]


def test_rest_tells_a_state_whole_as_of_a_time_and_the_difference_of_two(model: LanguageModel, erin: User) -> None:
    oldest, middle, newest = numbers(model)
    client = client_of(erin)
    whole = client.get(address(model, f"{middle}/")).json()
    assert (whole["state"], whole["values"]["timeout_s"], whole["values"]["max_retries"]) == (middle, 5.0, 2)
    assert client.get(address(model, "as-of/"), {"time": timezone.now().isoformat()}).json()["state"] == newest
    between = client.get(address(model, "difference/"), {"older": oldest, "newer": newest}).json()
    assert between["changes"] == [
        {"field": "timeout_s", "old": 60.0, "new": 5.0},
        {"field": "max_retries", "old": 2, "new": 0},
    ]


def test_rest_puts_back(model: LanguageModel, admin: User) -> None:
    answer = client_of(admin).post(address(model, f"{numbers(model)[0]}/revert/"))
    assert (answer.status_code, answer.json()["timeout_s"]) == (200, 60.0)
    latest = LanguageModel.objects.get(pk=model.pk).history.latest()
    assert (latest.history_change_reason, latest.history_source) == ("revert", "rest")


@pytest.mark.parametrize(
    ("rest", "query", "code"),
    [
        ("as-of/", {}, "time_invalid"),
        ("as-of/", {"time": "yesterday"}, "time_invalid"),
        ("as-of/", {"time": "2026-01-31T12:00:00"}, "time_invalid"),
        ("as-of/", {"time": "2026-13-31T12:00:00Z"}, "time_invalid"),
        ("as-of/", {"time": "9999-12-31T23:59:59-23:59"}, "time_invalid"),
        ("as-of/", {"time": "0001-01-01T00:00:00+23:59"}, "time_invalid"),
        ("difference/", {"older": "1"}, "state_invalid"),
        ("difference/", {"older": "-1", "newer": "1"}, "state_invalid"),
        ("difference/", {"older": "9" * 19, "newer": "1"}, "state_invalid"),
        ("difference/", {"older": "1 or 1", "newer": "1"}, "state_invalid"),
    ],
)
def test_bad_questions(model: LanguageModel, erin: User, rest: str, query: dict[str, Any], code: str) -> None:
    answer = client_of(erin).get(address(model, rest), query)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_states_that_there_are_not(model: LanguageModel, admin: User) -> None:
    client = client_of(admin)
    assert client.get(address(model, "9" * 18 + "/")).json()["code"] == "state_not_found"
    assert client.post(address(model, "9" * 18 + "/revert/")).json()["code"] == "state_not_found"
    assert client.post(address(model, "1/revert/"), {"surprise": 1}).json()["errors"][0]["code"] == "unknown_field"


def test_people_without_the_right_see_no_history(model: LanguageModel, alice: User) -> None:
    assert client_of(alice).get(address(model)).status_code == 404  # they may not even see the record
    assert client_of(alice).get(f"/api/v1/users/{alice.pk}/history/").json()["code"] == "history_view_forbidden"


def test_a_secret_is_in_no_state(model: LanguageModel, admin: User) -> None:
    set_secret(actor=admin, model=model, value="sk-canary-31415")
    listed = client_of(admin).get(address(model)).content
    states = [client_of(admin).get(address(model, f"{number}/")).content for number in numbers(model)]
    assert not any(b"31415" in answer or b'"secret"' in answer for answer in [listed, *states])


def test_a_deactivated_person_stays_in_the_trail(model: LanguageModel, admin: User, alice: User) -> None:
    User.objects.filter(pk=admin.pk).update(is_active=False)
    second = User.objects.create_superuser("second", "second@example.org")
    assert client_of(second).get(address(model)).json()["results"][0]["user"] == "admin"
    assert difference(*[model.history.get(history_id=number) for number in numbers(model)[:2]])


@pytest.mark.django_db(transaction=True)
def test_the_resolver_is_not_asked_within_a_transaction(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    within: list[bool] = []

    def addresses_of(host: str, port: int) -> list[str]:
        within.append(connection.in_atomic_block)
        return ["1.1.1.1"]

    monkeypatch.setattr("mlops.services.language_models.addresses_of", addresses_of)
    model = make_language_model(api_base="https://one.example/v1")
    update_language_model(actor=admin, model=model, fields={"api_base": "https://two.example/v1"})

    reverted = revert(actor=admin, row=model, state=numbers(model)[0])

    assert reverted.api_base == "https://one.example/v1"
    assert within == [False, False]


def test_who_deleted_what_is_listed_with_what_it_was(model: LanguageModel, admin: User, erin: User) -> None:
    price = make_price(model, valid_from=timezone.now() + timedelta(days=30), input_price=7)
    delete_price(actor=admin, price=price)
    other = make_price(model)

    listed = client_of(erin).get("/api/v1/prices/history/deleted/").json()

    [told] = listed["results"]
    assert (listed["next"], told["id"], told["user"], told["verb"], told["change"]) == (
        None,
        str(price.pk),
        "admin",
        "delete_price",
        "deleted",
    )
    assert (told["values"]["input_price"], told["values"]["model"]) == (7, str(model.pk))
    assert str(other.pk) not in str(listed)


def test_deletions_come_page_by_page_the_latest_first(admin: User, erin: User) -> None:
    names = [f"openai/gone-{number}" for number in range(3)]
    for name in names:
        delete_language_model(actor=admin, model=make_language_model(name=name))

    first = client_of(erin).get("/api/v1/language-models/history/deleted/", {"page_size": 2}).json()
    second = client_of(erin).get(first["next"]).json()

    told = [[row["values"]["name"] for row in page["results"]] for page in (first, second)]
    assert told == [[names[2], names[1]], [names[0]]]


def test_the_history_of_what_is_gone_is_still_read_but_nothing_is_put_back(
    model: LanguageModel, admin: User, erin: User, alice: User
) -> None:
    oldest = numbers(model)[0]
    delete_language_model(actor=admin, model=LanguageModel.objects.get(pk=model.pk))
    client = client_of(erin)

    states = client.get(address(model)).json()["results"]
    whole = client.get(address(model, f"{oldest}/")).json()
    back = client_of(admin).post(address(model, f"{oldest}/revert/"))

    assert [state["verb"] for state in states] == ["delete", "change", "change", None]
    assert whole["values"]["timeout_s"] == 60
    assert client.get(f"/api/v1/language-models/{model.pk}/").status_code == 404
    assert (back.status_code, LanguageModel.objects.count()) == (404, 0)
    assert client_of(alice).get(address(model)).status_code == 404
    assert client_of(alice).get("/api/v1/language-models/history/deleted/").json()["code"] == "history_view_forbidden"
    assert client.get("/api/v1/language-models/nonsense/history/").status_code == 404


def test_deleted_groups_are_told_to_engineers_but_to_no_token_of_some_programs(admin: User, erin: User) -> None:
    group = create_group(actor=admin, name="support")
    delete_group(actor=admin, group=group)

    assert [state.name for state in deletions(Group, erin)] == ["support"]
    assert deletions(User, erin).count() == 0
    admin.grant = Grant(new_id(), frozenset(Scope), frozenset({"triage"}))
    assert deletions(Group, admin).count() == 0
