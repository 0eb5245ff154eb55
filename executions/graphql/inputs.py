"""Shapes of what is asked of evaluations and compile jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphene

from mlops.graphql.scalars import Decimal, Long, units_of
from mlops.types import PICO_PER_USD

BUDGET_NAMES = {"budget.cost": "budget.cost_usd"}
"""Fields of the input by the names that the services have for them."""

ONCE = graphene.String(description="Makes it happen once: for 24 hours the same key and input give the first answer.")


class WorkBudgetInput(graphene.InputObjectType):  # type: ignore[misc]  # graphene has no types
    """The most that a piece of work may use; what is left out is not limited."""

    cost_usd = Decimal()
    calls = Long()
    tokens = Long()
    seconds = graphene.Float()


def budget_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The budget as services take it: cost in pico-dollars. Raises `Invalid` (`decimal_invalid`)."""
    told = {name: value for name, value in given.items() if name != "cost_usd"}
    cost = units_of(given.get("cost_usd"), PICO_PER_USD, "budget.cost_usd")
    return told if cost is None else {**told, "cost": cost}
