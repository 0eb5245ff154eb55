"""The price book: figures, moments, what may be deleted, and the import from LiteLLM's map."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.errors import Conflict, Forbidden, Invalid
from mlops.models import LanguageModel, ModelPrice, User
from mlops.runtime.price_map import PriceMap, Unlisted, installed_map
from mlops.selectors import language_model_spec, price_at
from mlops.services import language_models, price_imports
from mlops.services.language_models import create_language_model, delete_language_model
from mlops.services.price_imports import LOCAL, Outcome, import_prices
from mlops.services.prices import add_price, delete_price
from mlops.types import MATCHER_NAME, Price, TokenUsage
from tests.factories import make_language_model, make_user

pytestmark = pytest.mark.django_db
START = datetime(2026, 1, 1, tzinfo=UTC)
FIGURES: dict[str, Any] = {"input_price": 3, "cached_input_price": 1, "output_price": 9}


def add(admin: User, model: LanguageModel, valid_from: datetime = START, **figures: Any) -> ModelPrice:
    return add_price(actor=admin, model=model, valid_from=valid_from, **{**FIGURES, **figures})


# Moments


def test_a_row_holds_from_its_very_moment_until_the_next(admin: User) -> None:
    model = make_language_model()
    later = add(admin, model, START + timedelta(days=10))
    first = add(admin, model)
    tick = timedelta(microseconds=1)

    assert price_at(model, START - tick) is None
    assert price_at(model, START) == price_at(model, later.valid_from - tick) == first.as_price()
    assert price_at(model, later.valid_from) == later.as_price()


def test_a_future_row_waits(admin: User) -> None:
    model = make_language_model()
    add(admin, model, timezone.now() + timedelta(days=1))
    assert language_model_spec(model).price is None


def test_all_lines_reach_the_runtime(admin: User) -> None:
    model = make_language_model()
    row = add(admin, model, cache_write_price=4, reasoning_price=12, request_price=5_000, input_limit=200_000)
    assert price_at(model, START) == Price(str(row.pk), 3, 1, 9, 4, 12, 5_000, 200_000)


def test_only_a_row_that_was_entered_late_says_so(admin: User) -> None:
    model = make_language_model()
    LanguageModel.objects.filter(pk=model.pk).update(created_at=START - timedelta(days=1))
    model.refresh_from_db()
    assert "repriced" in add(admin, model).notice
    assert add(admin, model, timezone.now()).notice == ""
    assert add(admin, make_language_model()).notice == ""  # nobody could have called it before


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"input_price": -1}, "price_invalid", "input_price"),
        ({"output_price": 10**12 + 1}, "price_invalid", "output_price"),
        ({"cached_input_price": 1.5}, "price_invalid", "cached_input_price"),
        ({"cache_write_price": -1}, "price_invalid", "cache_write_price"),
        ({"reasoning_price": True}, "price_invalid", "reasoning_price"),
        ({"request_price": 10**18 + 1}, "price_invalid", "request_price"),
        ({"input_limit": 0}, "input_limit_invalid", "input_limit"),
        ({"input_limit": 10**10}, "input_limit_invalid", "input_limit"),
        ({"valid_from": datetime(2026, 1, 1)}, "valid_from_naive", "valid_from"),  # what is refused
        ({"valid_from": datetime(1999, 12, 31, tzinfo=UTC)}, "valid_from_out_of_range", "valid_from"),
        ({"valid_from": datetime.max.replace(tzinfo=UTC)}, "valid_from_out_of_range", "valid_from"),
        ({"source": "\0"}, "unstorable_text", "source"),
    ],
)
def test_bad_figures_and_moments_are_refused(admin: User, fields: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        add(admin, make_language_model(), **fields)
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert not ModelPrice.objects.exists()


def test_two_rows_of_one_moment_are_refused(admin: User) -> None:
    model = make_language_model()
    kept = add(admin, model)
    with pytest.raises(Conflict) as refusal:
        add(admin, model, START, input_price=4)
    assert refusal.value.code == "model_price_exists"
    assert ModelPrice.objects.get().input_price == kept.input_price


# Deleting


@pytest.fixture
def uses() -> Iterator[list[Any]]:
    """Which models some app says to have used."""
    used: list[Any] = []
    language_models.used_models(lambda model: model.pk in used)
    yield used
    language_models._uses.pop()


def test_a_row_that_came_into_force_can_only_be_superseded(admin: User) -> None:
    """Used or not: another process may be charging by it, whose clock need not be quite ours."""
    model, now = make_language_model(), timezone.now()
    old, soon = add(admin, model), add(admin, model, now + timedelta(seconds=50))
    future = add(admin, model, now + timedelta(minutes=2))

    for row in (old, soon):
        with pytest.raises(Conflict) as refusal:
            delete_price(actor=admin, price=row)
        assert refusal.value.code == "model_price_in_use"
    delete_price(actor=admin, price=future)

    assert set(ModelPrice.objects.all()) == {old, soon}
    assert ModelPrice.history.filter(history_type="-").get().history_change_reason == "delete_price"
    assert price_at(model, now + timedelta(minutes=3)) == soon.as_price()


def test_a_model_that_was_charged_for_is_not_deleted(admin: User, uses: list[Any]) -> None:
    model = make_language_model()
    add(admin, model)
    uses.append(model.pk)
    with pytest.raises(Conflict) as refusal:
        delete_language_model(actor=admin, model=model)
    assert refusal.value.code == "language_model_in_use"
    assert ModelPrice.objects.filter(model=model).count() == 1


def test_only_admins_write_the_book(admin: User) -> None:
    engineer, model = make_user("ml_engineer"), make_language_model()
    row = add(admin, model)
    for attempt in (
        lambda: add(engineer, model, START + timedelta(days=1)),
        lambda: delete_price(actor=engineer, price=row),
        lambda: import_prices(actor=engineer),
    ):
        with pytest.raises(Forbidden):
            attempt()
    assert list(ModelPrice.objects.all()) == [row]


# The map

INSTALLED = installed_map()


def entry(**fields: Any) -> dict[str, Any]:
    return {"mode": "chat", "litellm_provider": "openai", **fields}


def known(**entries: dict[str, Any]) -> PriceMap:
    return PriceMap("litellm 9.9.9", date(2026, 5, 1), entries)


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """A map of our own in place of the installed one."""
    entries: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(price_imports, "installed_map", lambda: known(**entries))
    return entries


def test_the_installed_map_knows_what_it_is() -> None:
    assert INSTALLED.source.startswith("litellm 1.")
    assert INSTALLED.dated <= timezone.now().date()
    assert len(INSTALLED.entries) > 1_000


@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("openai/gpt-4o-mini", Price("gpt-4o-mini", 150_000, 75_000, 600_000)),
        ("anthropic/claude-haiku-4-5", Price("claude-haiku-4-5", 1_000_000, 100_000, 5_000_000, 1_250_000)),
        (
            "gemini/gemini-2.5-pro",
            Price("gemini/gemini-2.5-pro", 1_250_000, 125_000, 10_000_000, input_limit=200_000),
        ),
        ("openai/text-embedding-3-small", Price("text-embedding-3-small", 20_000, 20_000, 0)),
        ("perplexity/pplx-7b-online", Price("perplexity/pplx-7b-online", 0, 0, 280_000, request=5_000_000_000)),
        # binary floating point in the map: 0.000015000020000000002
        (
            "databricks/databricks-claude-opus-4",
            Price("databricks/databricks-claude-opus-4", 15_000_020, 1_500_030, 75_000_030, 18_749_990),
        ),
    ],
)
def test_list_prices_are_whole_pico_dollars(name: str, price: Price) -> None:
    assert INSTALLED.listing(name).price == price


def test_a_service_tier_has_its_own_price() -> None:
    standard, priority = INSTALLED.listing("openai/gpt-4o"), INSTALLED.listing("openai/gpt-4o", "priority")
    assert (standard.price, priority.price) == (
        Price("gpt-4o", 2_500_000, 1_250_000, 10_000_000),
        Price("gpt-4o", 4_250_000, 2_125_000, 17_000_000),
    )
    assert INSTALLED.listing("openai/gpt-4o", "ultra").reason is Unlisted.OTHER_UNIT


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mode": "image_generation", "output_cost_per_image": 1}, Unlisted.OTHER_UNIT),
        ({"input_cost_per_second": 1}, Unlisted.OTHER_UNIT),
        ({"input_cost_per_token": 1}, Unlisted.OTHER_UNIT),
        ({"input_cost_per_token": -1, "output_cost_per_token": 1}, Unlisted.OTHER_UNIT),
        ({"input_cost_per_token": "1", "output_cost_per_token": 1}, Unlisted.OTHER_UNIT),
        ({"input_cost_per_token": 0, "output_cost_per_token": 0}, Unlisted.UNKNOWN),
        (
            {
                "input_cost_per_token": 1,
                "output_cost_per_token": 1,
                "search_context_cost_per_query": {"search_context_size_low": 1},
                "litellm_provider": "perplexity",
            },
            Unlisted.OTHER_UNIT,
        ),
        ({}, Unlisted.UNKNOWN),
    ],
)
def test_other_units_are_no_price(fields: dict[str, Any], reason: Unlisted) -> None:
    listing = known(**{"openai/m": entry(**fields)}).listing("openai/m")
    assert (listing.price, listing.reason) == (None, reason)


def test_two_entries_that_differ_are_ambiguous() -> None:
    cheap, dear = (entry(input_cost_per_token=amount, output_cost_per_token=amount) for amount in (1, 2))
    assert known(**{"openai/m": cheap, "m": cheap}).listing("openai/m").reason is None
    assert known(**{"openai/m": cheap, "m": dear}).listing("openai/m").reason is Unlisted.AMBIGUOUS
    elsewhere = {**dear, "litellm_provider": "azure"}
    assert known(**{"openai/m": cheap, "m": elsewhere}).listing("openai/m").reason is None


# Importing


def one_dollar() -> dict[str, Any]:
    return entry(input_cost_per_token=Decimal("1E-6"), output_cost_per_token=Decimal("2E-6"))


def test_a_new_model_has_its_list_price_at_once(admin: User) -> None:
    row = create_language_model(actor=admin, name="openai/gpt-4o-mini").prices.get()
    assert (row.input_price, row.output_price) == (150_000, 600_000)
    assert (row.source, row.source_date) == (INSTALLED.source, INSTALLED.dated)
    assert create_language_model(actor=admin, name=MATCHER_NAME).prices.get().source == LOCAL
    local = create_language_model(actor=admin, name="ollama_chat/llama3.2:3b", api_base="http://127.0.0.1:11434")
    assert local.prices.get().as_price().of(TokenUsage(9, 9)) == 0


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("openai/nobody-knows", {}),
        ("openai/gpt-4o-mini", {"api_base": "https://gateway.example/v1"}),
        ("openai/gpt-4o", {"import_price": False}),
        ("ollama_chat/gpt-oss:120b-cloud", {}),
    ],
)
def test_a_new_model_without_a_certain_price_has_none(admin: User, name: str, fields: dict[str, Any]) -> None:
    assert not create_language_model(actor=admin, name=name, **fields).prices.exists()


def test_an_import_adds_what_differs_and_nothing_twice(admin: User, book: dict[str, dict[str, Any]]) -> None:
    book["openai/m"] = one_dollar()
    model = make_language_model(name="openai/m")

    (shown,) = import_prices(actor=admin, dry_run=True)
    assert (shown.outcome, shown.row, ModelPrice.objects.count()) == (Outcome.ADDED, None, 0)

    (first,) = import_prices(actor=admin, valid_from=START)
    assert first.row == ModelPrice.objects.get(model=model)
    assert (first.row.source, first.row.source_date, first.row.valid_from) == (
        "litellm 9.9.9", date(2026, 5, 1), START,
    )  # fmt: skip

    (again,) = import_prices(actor=admin)
    assert (again.outcome, again.present, again.row) == (Outcome.UNCHANGED, first.row, None)

    book["openai/m"]["output_cost_per_token"] *= 2
    (changed,) = import_prices(actor=admin)
    assert changed.outcome is Outcome.ADDED
    assert list(ModelPrice.objects.order_by("valid_from").values_list("output_price", flat=True)) == [
        2_000_000,
        4_000_000,
    ]


def test_what_a_person_has_entered_stays_and_both_are_shown(admin: User, book: dict[str, dict[str, Any]]) -> None:
    book["openai/m"] = one_dollar()
    model = make_language_model(name="openai/m")
    entered = add(admin, model)

    (report,) = import_prices(actor=admin)

    assert (report.outcome, report.present, report.row) == (Outcome.KEPT, entered, None)
    assert report.listed == Price("openai/m", 1_000_000, 1_000_000, 2_000_000)
    assert list(model.prices.all()) == [entered]

    (replaced,) = import_prices(actor=admin, replace_entered=True)
    assert replaced.outcome is Outcome.ADDED
    assert price_at(model, timezone.now()) == replaced.row.as_price()  # type: ignore[union-attr]


def test_a_base_url_of_its_own_needs_a_name(admin: User, book: dict[str, dict[str, Any]]) -> None:
    book["openai/m"] = one_dollar()
    model = make_language_model(name="openai/m", api_base="https://gateway.example/v1")
    (unsure,) = import_prices(actor=admin)
    assert (unsure.outcome, unsure.reason, unsure.row) == (Outcome.AMBIGUOUS, "own_base_url", None)
    (named,) = import_prices(actor=admin, models=[model])
    assert named.outcome is Outcome.ADDED


def test_an_import_that_is_refused_adds_nothing(admin: User, book: dict[str, dict[str, Any]]) -> None:
    book["openai/a"] = book["openai/b"] = one_dollar()
    make_language_model(name="openai/a")
    taken = make_language_model(name="openai/b")
    add(admin, taken, START, source="litellm 1.0.0")
    with pytest.raises(Conflict):
        import_prices(actor=admin, valid_from=START)
    assert ModelPrice.objects.count() == 1


# REST


@pytest.fixture
def client(admin: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(admin)
    return client


def body_of(model: LanguageModel, **fields: Any) -> dict[str, Any]:
    figures = {"input_price": "0.15", "cached_input_price": "0.075", "output_price": "0.6"}
    return {"language_model": str(model.pk), "valid_from": "2026-01-01T00:00:00Z", **figures, **fields}


def test_prices_are_decimal_strings_outside(client: APIClient) -> None:
    model = make_language_model()
    more = {"cache_write_price": "0.1875", "reasoning_price": None, "request_price": "0.005", "input_limit": 128_000}

    answer = client.post("/api/v1/prices/", body_of(model, **more), format="json")

    assert answer.status_code == 201, answer.json()
    said = answer.json()
    assert (said["input_price"], said["cache_write_price"], said["reasoning_price"]) == ("0.15", "0.1875", None)
    assert (said["request_price"], said["input_limit"], said["source"]) == ("0.005", 128_000, "")
    row = ModelPrice.objects.get()
    assert (row.input_price, row.cache_write_price, row.request_price) == (150_000, 187_500, 5_000_000_000)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"input_price": "1e3"}, "decimal_invalid", "input_price"),
        ({"input_price": "NaN"}, "decimal_invalid", "input_price"),
        ({"input_price": "Infinity"}, "decimal_invalid", "input_price"),
        ({"input_price": "0.0000001"}, "decimal_too_precise", "input_price"),
        ({"input_price": 0.1}, "decimal_invalid", "input_price"),
        ({"input_price": "-1"}, "price_invalid", "input_price"),
        ({"input_price": "9" * 30}, "decimal_invalid", "input_price"),
        ({"input_price": "10000000"}, "price_invalid", "input_price"),
        ({"input_price": None}, "null", "input_price"),
        ({"request_price": "0.0000000000001"}, "decimal_too_precise", "request_price"),
        ({"input_limit": 2**80}, "input_limit_invalid", "input_limit"),
        ({"valid_from": "0001-01-01T00:00:00+14:00"}, None, "valid_from"),
        ({"valid_from": "9999-12-31T23:59:59-14:00"}, None, "valid_from"),
        ({"valid_from": "yesterday"}, "invalid", "valid_from"),
        ({"source_date": "2026-01-01"}, "unknown_field", "source_date"),
    ],
)
def test_bad_bodies_are_told_the_field(client: APIClient, fields: dict[str, Any], code: str | None, field: str) -> None:
    answer = client.post("/api/v1/prices/", body_of(make_language_model(), **fields), format="json")
    assert answer.status_code == 400
    (problem,) = answer.json()["errors"]
    assert problem["field"] == field
    assert code in (None, problem["code"])
    assert not ModelPrice.objects.exists()


def test_rows_are_deleted_or_superseded_never_changed(client: APIClient, admin: User) -> None:
    model = make_language_model()
    row, future = add(admin, model), add(admin, model, timezone.now() + timedelta(days=1))
    address = f"/api/v1/prices/{row.pk}/"
    assert client.patch(address, {"input_price": "1"}, format="json").status_code == 405
    refused = client.delete(address)
    assert (refused.status_code, refused.json()["code"]) == (409, "model_price_in_use")
    assert client.delete(f"/api/v1/prices/{future.pk}/").status_code == 204
    assert list(ModelPrice.objects.all()) == [row]


def test_import_over_rest_tells_every_model(client: APIClient, book: dict[str, dict[str, Any]]) -> None:
    book["openai/m"] = one_dollar()
    known_model, unknown = make_language_model(name="openai/m"), make_language_model(name="openai/x")
    answer = client.post("/api/v1/prices/import/", {"valid_from": "2026-02-01T00:00:00Z"}, format="json")
    assert answer.status_code == 200, answer.json()
    told = {result["name"]: result for result in answer.json()["results"]}
    assert told["openai/m"]["outcome"] == "added"
    assert told["openai/m"]["listed"]["output_price"] == "2"
    assert told["openai/m"]["row"]["id"] == str(known_model.prices.get().pk)
    assert (told["openai/x"]["outcome"], told["openai/x"]["listed"], unknown.prices.count()) == ("unknown", None, 0)
    missing = {"language_models": ["018f0000-0000-7000-8000-000000000000"]}
    assert client.post("/api/v1/prices/import/", missing, format="json").status_code == 404
