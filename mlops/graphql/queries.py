"""Queries of the foundation's records."""

from __future__ import annotations

from typing import Any

import graphene

from mlops.graphql.lists import Rows
from mlops.graphql.records import Get, Node, actor_of
from mlops.graphql.types import (
    ApiTokenType,
    BudgetType,
    CreditEntryType,
    LanguageModelType,
    ModelPriceType,
    UserType,
)


class Query(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    node = Node.Field(description="Any row by its id.")
    me = graphene.Field(UserType, required=True, description="Who is asking.")
    get_user = Get(UserType)
    list_users = Rows(UserType)
    get_token = Get(ApiTokenType)
    list_tokens = Rows(ApiTokenType)
    get_credit_entry = Get(CreditEntryType)
    list_credit_entries = Rows(CreditEntryType)
    get_language_model = Get(LanguageModelType)
    list_language_models = Rows(LanguageModelType)
    get_price = Get(ModelPriceType)
    list_prices = Rows(ModelPriceType)
    get_budget = Get(BudgetType)
    list_budgets = Rows(BudgetType)

    @staticmethod
    def resolve_me(root: Any, info: Any) -> Any:
        return UserType.get_node(info, actor_of(info).pk)
