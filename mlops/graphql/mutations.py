"""Mutations of people, tokens, credits, budgets, language models and prices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import graphene

from mlops.graphql.records import Node, any_row
from mlops.graphql.scalars import Decimal, JSONObject, units_of
from mlops.graphql.types import (
    MICRO,
    ApiTokenType,
    BudgetType,
    CreditEntryType,
    LanguageModelType,
    ModelPriceType,
    UserType,
)
from mlops.graphql.verbs import Reference, VerbMutation, by_id
from mlops.models import ApiToken, Budget, LanguageModel, ModelPrice, User
from mlops.services import budgets, credits, language_models, price_imports, prices, reverting, tokens, users
from mlops.services.credits import line_key
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD

USER, TOKEN, BUDGET, MODEL, PRICE = by_id(User), by_id(ApiToken), by_id(Budget), by_id(LanguageModel), by_id(ModelPrice)
STRINGS = graphene.List(graphene.NonNull(graphene.String))
ONE_USER: dict[str, Any] = {"gives": {"user": UserType}, "takes": {"user": USER}}
ONE_MODEL: dict[str, Any] = {"gives": {"language_model": LanguageModelType}, "takes": {"model": MODEL}}

USER_FIELDS = {
    "email": graphene.String(),
    "first_name": graphene.String(),
    "last_name": graphene.String(),
    "role": graphene.String(description="admin, ml_engineer or ml_user."),
    "time_zone": graphene.String(),
    "has_hard_limit": graphene.Boolean(),
    "rate_limit": graphene.Int(),
}
MODEL_FIELDS = {
    "api_base": graphene.String(),
    "parameters": JSONObject(),
    "timeout_s": graphene.Float(),
    "deadline_s": graphene.Float(),
    "max_retries": graphene.Int(),
    "concurrency_limit": graphene.Int(),
    "supports_tools": graphene.Boolean(),
    "supports_json_schema": graphene.Boolean(),
    "is_enabled": graphene.Boolean(),
}
BUDGET_FIELDS = {"warn_percent": graphene.Int(), "is_enabled": graphene.Boolean()}
PRICE_UNITS = {
    "input_price": MICRO,
    "cached_input_price": MICRO,
    "output_price": MICRO,
    "cache_write_price": MICRO,
    "reasoning_price": MICRO,
    "request_price": PICO_PER_USD,
}
NEEDED_PRICES = ("input_price", "cached_input_price", "output_price")
PAYS = {
    "user": USER,
    "credits": Decimal(required=True),
    "note": graphene.String(),
    "idempotency_key": graphene.String(description="The same key pays once."),
}
SHOWN_ONCE = {"token": ApiTokenType, "secret": graphene.String(description="Shown this once: only its digest is kept.")}


class ImportedPriceType(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """What became of the list price of one language model."""

    class Meta:
        name = "ImportedPrice"

    model = graphene.Field(LanguageModelType, required=True)
    outcome = graphene.String(required=True)
    reason = graphene.String(required=True, description="Why it is kept, unknown or ambiguous.")
    source = graphene.String(required=True)
    present = graphene.Field(ModelPriceType)
    row = graphene.Field(ModelPriceType)

    @staticmethod
    def resolve_outcome(one: price_imports.ImportedPrice, info: Any) -> str:
        return one.outcome.value


def _with_fields(service: Callable[..., Any], row: str) -> Callable[..., Any]:
    """A service that takes what is changed as one mapping."""

    def perform(*, actor: Any, **given: Any) -> Any:
        return service(actor=actor, **{row: given.pop(row)}, fields=given)

    return perform


def _paid(service: Callable[..., Any], verb: str) -> Callable[..., Any]:
    def perform(*, actor: Any, user: User, note: str = "", idempotency_key: str | None = None, **given: Any) -> Any:
        amount, key = units_of(given["credits"], MICRO_PER_CREDIT, "credits"), line_key(verb, actor, idempotency_key)
        return service(actor=actor, user=user, amount=amount, key=key, note=note)

    return perform


def _create_token(*, actor: Any, **given: Any) -> dict[str, Any]:
    token, secret = tokens.create_token(actor=actor, user=actor, **given)
    return {"token": token, "secret": secret}


def _rotate_token(*, actor: Any, token: ApiToken, overlap_s: int | None = None) -> dict[str, Any]:
    overlap = tokens.OVERLAP if overlap_s is None else timedelta(seconds=overlap_s)
    made, secret = tokens.rotate_token(actor=actor, token=token, overlap=overlap)
    return {"token": made, "secret": secret}


def _with_limit(service: Callable[..., Any]) -> Callable[..., Any]:
    def perform(**given: Any) -> Any:
        if "limit" in given:
            given["limit"] = units_of(given["limit"], PICO_PER_USD, "limit")
        return service(**given)

    return perform


def _add_price(**given: Any) -> Any:
    units = {name: units_of(given[name], scale, name) for name, scale in PRICE_UNITS.items() if name in given}
    return prices.add_price(**{**given, **units})


def _import_prices(**given: Any) -> dict[str, Any]:
    return {"results": price_imports.import_prices(**given)}


class Mutation(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    revert = VerbMutation(
        reverting.revert,
        gives={"node": Node},
        takes={
            "row": Reference(any_row, description="The id of a record that has a history."),
            "state": graphene.Int(required=True, description="The number of the state to go back to."),
        },
    )
    create_user = VerbMutation(
        users.create_user,
        gives={"user": UserType},
        takes={"username": graphene.String(required=True), "password": graphene.String(), **USER_FIELDS},
    )
    update_user = VerbMutation(
        users.update_user,
        gives={"user": UserType},
        takes={"user": USER, **USER_FIELDS},
        clears=("rate_limit",),
        perform=_with_fields(users.update_user, "user"),
    )
    deactivate_user = VerbMutation(users.deactivate_user, **ONE_USER)
    anonymise_user = VerbMutation(users.anonymise_user, **ONE_USER)
    grant_credits = VerbMutation(
        credits.grant_credits,
        gives={"line": CreditEntryType},
        takes=PAYS,
        perform=_paid(credits.grant_credits, "grant"),
    )
    refund_credits = VerbMutation(
        credits.refund_credits,
        gives={"line": CreditEntryType},
        takes=PAYS,
        perform=_paid(credits.refund_credits, "refund"),
    )
    create_token = VerbMutation(
        tokens.create_token,
        gives=SHOWN_ONCE,
        takes={
            "name": graphene.String(required=True),
            "scopes": STRINGS,
            "programs": STRINGS,
            "rate_limit": graphene.Int(),
            "expires_at": graphene.DateTime(),
        },
        perform=_create_token,
    )
    rotate_token = VerbMutation(
        tokens.rotate_token,
        gives=SHOWN_ONCE,
        takes={
            "token": TOKEN,
            "overlap_s": graphene.Int(description="Seconds for which the old token stays usable."),
        },
        perform=_rotate_token,
    )
    revoke_token = VerbMutation(tokens.revoke_token, gives={"token": ApiTokenType}, takes={"token": TOKEN})
    create_budget = VerbMutation(
        budgets.create_budget,
        gives={"budget": BudgetType},
        takes={
            "scope": graphene.String(required=True, description="user, program, language_model or installation."),
            "period": graphene.String(required=True, description="day or month."),
            "limit": Decimal(required=True, description="Dollars per period."),
            "user": by_id(User, required=False),
            "program": graphene.String(description="Its name."),
            "language_model": by_id(LanguageModel, required=False),
            **BUDGET_FIELDS,
        },
        perform=_with_limit(budgets.create_budget),
    )
    update_budget = VerbMutation(
        budgets.update_budget,
        gives={"budget": BudgetType},
        takes={"budget": BUDGET, "limit": Decimal(), **BUDGET_FIELDS},
        perform=_with_limit(_with_fields(budgets.update_budget, "budget")),
    )
    delete_budget = VerbMutation(budgets.delete_budget, gives={}, takes={"budget": BUDGET})
    create_language_model = VerbMutation(
        language_models.create_language_model,
        gives={"language_model": LanguageModelType},
        takes={
            "name": graphene.String(required=True),
            "kind": graphene.String(description="chat or embedding."),
            "import_price": graphene.Boolean(description="Whether it begins with its list price."),
            **MODEL_FIELDS,
        },
    )
    update_language_model = VerbMutation(
        language_models.update_language_model,
        gives={"language_model": LanguageModelType},
        takes={"model": MODEL, **MODEL_FIELDS},
        clears=("supports_tools", "supports_json_schema"),
        perform=_with_fields(language_models.update_language_model, "model"),
    )
    delete_language_model = VerbMutation(language_models.delete_language_model, gives={}, takes={"model": MODEL})
    set_default = VerbMutation(language_models.set_default, **ONE_MODEL)
    set_secret = VerbMutation(
        language_models.set_secret,
        gives={"language_model": LanguageModelType},
        takes={
            "model": MODEL,
            "value": graphene.String(description="Kept encrypted and never shown."),
            "variable": graphene.String(description="Name of the environment variable that holds it."),
        },
    )
    set_fallbacks = VerbMutation(
        language_models.set_fallbacks,
        gives={"language_model": LanguageModelType},
        takes={"model": MODEL, "fallbacks": by_id(LanguageModel, many=True)},
    )
    add_price = VerbMutation(
        prices.add_price,
        gives={"price": ModelPriceType},
        takes={
            "model": MODEL,
            "valid_from": graphene.DateTime(required=True),
            **{name: Decimal(required=name in NEEDED_PRICES) for name in PRICE_UNITS},
            "input_limit": graphene.Int(),
            "source": graphene.String(),
        },
        perform=_add_price,
    )  # fmt: skip
    delete_price = VerbMutation(prices.delete_price, gives={}, takes={"price": PRICE})
    import_prices = VerbMutation(
        price_imports.import_prices,
        gives={"results": graphene.List(graphene.NonNull(ImportedPriceType))},
        takes={
            "models": by_id(LanguageModel, required=False, many=True),
            "valid_from": graphene.DateTime(),
            "dry_run": graphene.Boolean(),
            "replace_entered": graphene.Boolean(),
        },
        perform=_import_prices,
    )
