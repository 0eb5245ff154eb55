"""The price book in memory, and what an execution costs by it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from executions.models import Execution
from mlops.models import ModelPrice
from mlops.runtime.recorder import MAX_COST
from mlops.types import Price, TokenUsage


@dataclass(frozen=True, slots=True)
class Part:
    """What one language model cost in an execution, in pico-dollars; None where that is unknown."""

    language_model: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Correction:
    """What an execution cost and should have cost; `parts` are those that differ."""

    execution: Execution
    before: int | None
    after: int | None
    prices: list[str]
    costs: Mapping[str, int | None]
    parts: tuple[Part, ...]

    def make(self) -> None:
        """Set the corrected columns; the caller stores them."""
        row = self.execution
        by_model = {name: _with_cost(lines, self.costs[name]) for name, lines in _models_of(row).items()}
        row.token_usage = {**row.token_usage, "by_model": by_model}
        row.cost, row.prices = self.after, self.prices


class PriceBook:
    """Rows of prices by language model and moment."""

    def __init__(self, rows: Iterable[ModelPrice], as_of: datetime) -> None:
        """`rows` in the order of their moments; those that were entered after `as_of` are known, but not in force."""
        self._moments: dict[str, list[datetime]] = defaultdict(list)
        self._prices: dict[str, list[Price]] = defaultdict(list)
        self._by_id: dict[str, tuple[str, Price]] = {}
        for row in rows:
            price, name = row.as_price(), row.model.name
            self._by_id[price.id] = (name, price)
            if row.created_at <= as_of:
                self._moments[name].append(row.valid_from)
                self._prices[name].append(price)

    @classmethod
    def of(cls, as_of: datetime) -> Self:
        return cls(ModelPrice.objects.select_related("model").order_by("valid_from"), as_of)

    def in_force(self, language_model: str, at: datetime) -> Price | None:
        index = bisect_right(self._moments[language_model], at)
        return self._prices[language_model][index - 1] if index else None

    def correction(self, row: Execution, only: str) -> Correction | None:
        """The correction of an execution, if it needs one; with `only`, the other models keep what they cost."""
        began = row.started_at or row.created_at
        costs: dict[str, int | None] = {}
        prices: list[str] = []
        parts: list[Part] = []
        for name, lines in _models_of(row).items():
            kept = self._kept(row, name)
            before = lines["cost"] if "cost" in lines else _cost(kept, lines)
            price = kept if only and name != only else self.in_force(name, began)
            after = before if only and name != only else _cost(price, lines)
            costs[name] = after
            prices.extend([price.id] if price is not None else [])
            parts.extend([Part(name, before, after)] if before != after else [])
        total = _sum(costs.values())
        if not costs or (total == row.cost and not parts):
            return None
        return Correction(row, row.cost, total, prices, costs, tuple(parts))

    def _kept(self, row: Execution, language_model: str) -> Price | None:
        """The row that the execution was charged by; the last one, if an earlier attempt had another."""
        own = [
            price for id in row.prices for name, price in [self._by_id.get(id, ("", None))] if name == language_model
        ]
        return own[-1] if own else None


def _models_of(row: Execution) -> Mapping[str, Mapping[str, Any]]:
    by_model: Mapping[str, Mapping[str, Any]] = row.token_usage.get("by_model", {})
    return by_model


def _cost(price: Price | None, lines: Mapping[str, Any]) -> int | None:
    usage = TokenUsage.from_json(lines)
    return price.of(usage) if price is not None and price.covers(usage) else None


def _with_cost(lines: Mapping[str, Any], cost: int | None) -> dict[str, Any]:
    """Where the whole cost is known, the part that was known before says nothing more."""
    if cost is None:
        return {**lines, "cost": None}
    return {**{line: value for line, value in lines.items() if line != "known_cost"}, "cost": cost}


def _sum(costs: Collection[int | None]) -> int | None:
    known = [cost for cost in costs if cost is not None]
    total = sum(known)
    return total if len(known) == len(costs) and total <= MAX_COST else None
