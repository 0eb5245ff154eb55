"""Types of the foundation's records."""

from __future__ import annotations

from typing import Any

import graphene
from django.db.models import prefetch_related_objects

from mlops.filters import (
    ApiTokenFilter,
    BudgetFilter,
    CreditEntryFilter,
    LanguageModelFilter,
    ModelPriceFilter,
    UserFilter,
)
from mlops.graphql.lists import Children
from mlops.graphql.peers import peers_of
from mlops.graphql.records import Listed, Record, Target
from mlops.graphql.scalars import JSON, Money
from mlops.models import ApiToken, Budget, CreditEntry, LanguageModel, ModelPrice, User
from mlops.selectors.budgets import Standing, load_standings, standing_of
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD

TIMES = ("created_at", "updated_at")
MICRO = 10**6
PER_MILLION = "Dollars per million tokens."


class UserType(Record):
    """An account. People see their own, admins see all."""

    class Meta:
        name = "User"
        model = User
        fields = (
            "id", "username", "email", "first_name", "last_name", "role", "time_zone", "has_hard_limit", "rate_limit",
            "is_active", *TIMES,
        )  # fmt: skip
        listed = Listed(UserFilter, orderings=("username",), search=("username", "email"))

    credits = Money("ml_credits", MICRO_PER_CREDIT)


class ApiTokenType(Record):
    """A bearer token. The token itself is shown once, to whoever makes it."""

    class Meta:
        name = "ApiToken"
        model = ApiToken
        fields = (
            "id", "name", "prefix", "scopes", "programs", "rate_limit", "expires_at", "revoked_at", "last_used_at",
            *TIMES,
        )  # fmt: skip
        unread = ("digest",)
        listed = Listed(ApiTokenFilter)

    user = Target(UserType)
    replaced_by = Target(lambda: ApiTokenType)
    made_by = Target(lambda: ApiTokenType)


class CreditEntryType(Record):
    """A line of the ledger."""

    class Meta:
        name = "CreditEntry"
        model = CreditEntry
        fields = ("id", "kind", "subject_kind", "subject_id", "note", "created_at")
        listed = Listed(CreditEntryFilter)

    amount = Money("amount", MICRO_PER_CREDIT, description="Signed, in credits.")
    used = Money("used", MICRO_PER_CREDIT, description="What a settle line charged, in credits.")
    user = Target(UserType)
    granted_by = Target(UserType)


class ModelPriceType(Record):
    """What tokens of a language model cost from a date on."""

    class Meta:
        name = "ModelPrice"
        model = ModelPrice
        fields = ("id", "valid_from", "input_limit", "source", "source_date", *TIMES)
        listed = Listed(ModelPriceFilter)

    language_model = Target(lambda: LanguageModelType, "model")
    input_price = Money("input_price", MICRO, description=PER_MILLION)
    cached_input_price = Money("cached_input_price", MICRO, description=PER_MILLION)
    output_price = Money("output_price", MICRO, description=PER_MILLION)
    cache_write_price = Money("cache_write_price", MICRO, description=f"{PER_MILLION} Null: as input.")
    reasoning_price = Money("reasoning_price", MICRO, description=f"{PER_MILLION} Null: as output.")
    request_price = Money("request_price", PICO_PER_USD, description="Dollars per billed request.")
    notice = graphene.String(description="What a row that was entered late leaves as it was.")

    @staticmethod
    def resolve_notice(price: ModelPrice, info: Any) -> str:
        peers_of(price).once("model", lambda rows: prefetch_related_objects(rows, "model"))
        return price.notice


class LanguageModelType(Record):
    """A model that may be called. Its secret is never shown."""

    class Meta:
        name = "LanguageModel"
        model = LanguageModel
        fields = (
            "id", "name", "kind", "api_base", "parameters", "timeout_s", "deadline_s", "max_retries",
            "concurrency_limit", "supports_tools", "supports_json_schema", "is_enabled", "is_default",
            "secret_variable", *TIMES,
        )  # fmt: skip
        listed = Listed(LanguageModelFilter, orderings=("name",), search=("name",))

    has_secret = graphene.Boolean(required=True)
    fallbacks = JSON(required=True, description="Ids of the models that stand in, in their order.")
    prices = Children(ModelPriceType, "model")

    @staticmethod
    def resolve_fallbacks(model: LanguageModel, info: Any) -> list[str]:
        peers_of(model).once("fallbacks", lambda rows: prefetch_related_objects(rows, "fallback_rows"))
        return [str(row.model_id) for row in sorted(model.fallback_rows.all(), key=lambda row: row.position)]


def _dollars(column: str, description: str = "", *, required: bool = True) -> Money:
    return Money(column, PICO_PER_USD, required=required, description=description or None)


class StandingType(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """The present period of a budget; amounts in dollars."""

    class Meta:
        name = "BudgetStanding"

    starts_at = graphene.DateTime(required=True)
    resets_at = graphene.DateTime(required=True)
    spent = _dollars("spent")
    left = _dollars("left")
    in_doubt = _dollars("in_doubt", "Counted as spent: reserved by processes that disappeared.")
    held = _dollars("held", "Held by open slices beyond what they have told of.")
    reserved = _dollars("reserved", "The part of it that is under way.")
    forecast = _dollars("forecast", "Spent at the end if it goes on like this.", required=False)
    open_slices = graphene.Int(required=True)
    percent = graphene.Int(required=True)
    is_blocked = graphene.Boolean(required=True)
    unpriced = graphene.Int(required=True, description="Executions with a call whose price nobody knows.")
    warned_at = graphene.DateTime()
    blocked_at = graphene.DateTime()


class BudgetType(Record):
    """A limit on what may be spent per UTC day or month."""

    class Meta:
        name = "Budget"
        model = Budget
        fields = ("id", "scope", "program", "period", "warn_percent", "is_enabled", *TIMES)
        listed = Listed(BudgetFilter)

    limit = Money("limit", PICO_PER_USD, description="Dollars per period.")
    user = Target(UserType)
    language_model = Target(LanguageModelType)
    present = graphene.Field(StandingType, required=True)

    @staticmethod
    def resolve_present(budget: Budget, info: Any) -> Standing:
        peers_of(budget).once("standing", load_standings)
        return standing_of(budget)
