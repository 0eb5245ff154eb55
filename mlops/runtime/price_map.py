"""LiteLLM's map of what models cost, as it was installed: read as a file, since importing the package takes seconds.

What the map tells in other units than tokens and requests, or leaves open, is no price here: better none than a wrong
one. The reasons are told to whoever asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from mlops.runtime.tiers import STANDARD
from mlops.types import PICO_PER_USD, Price

FILE = "model_prices_and_context_window_backup.json"

_MODES = frozenset({"chat", "completion", "responses", "embedding"})
_FREE = frozenset({"ollama", "lemonade"})
"""Providers that run on one's own machine. Of others the map says 0 where it does not know."""

_SAME = {"bedrock_converse": "bedrock", "cohere_chat": "cohere", "azure_text": "azure"}
_LONG = re.compile(r"(?:input|output)_cost_per_token_above_(\d+)k_tokens")
_NOISE = Decimal("1e-9")
"""Relative. The map was written with binary floating point: its fractions of a pico-dollar are below 1e-15."""

Entry: TypeAlias = Mapping[str, Any]


class Unlisted(StrEnum):
    """Why the map gives a model no price."""

    UNKNOWN = "unknown"
    AMBIGUOUS = "ambiguous"
    OTHER_UNIT = "other_unit"


@dataclass(frozen=True, slots=True)
class Listing:
    """What the map says of a model: its price, named by its key in the map, or why there is none."""

    price: Price | None = None
    reason: Unlisted | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceMap:
    """`source` names the package and its version; `dated` is the day on which its file was put here."""

    source: str
    dated: date
    entries: Mapping[str, Entry]

    def listing(self, name: str, tier: str = STANDARD) -> Listing:
        """The list price of the model `name`, as `provider/model`, in a service tier."""
        keys = tuple(self._keys(name))
        found = [_priced(self.entries[key], key, tier) for key in keys]
        prices = {replace(price, id="") for price in found if isinstance(price, Price)}
        if len(prices) > 1:
            return Listing(reason=Unlisted.AMBIGUOUS, keys=keys)
        first = next(iter(found), Unlisted.UNKNOWN)
        if isinstance(first, Unlisted):
            return Listing(reason=first, keys=keys)
        return Listing(price=first, keys=keys)

    def _keys(self, name: str) -> Iterator[str]:
        """The map writes some models with their provider, some without, some both ways."""
        provider, _, model = name.partition("/")
        if name in self.entries:
            yield name
        if model in self.entries and _owner(self.entries[model]) == provider:
            yield model


def installed_map() -> PriceMap:
    """The map of the LiteLLM that is installed; an empty one where it is not."""
    package = find_spec("litellm")
    for folder in package.submodule_search_locations or () if package else ():
        if (file := Path(folder) / FILE).exists():
            dated = datetime.fromtimestamp(file.stat().st_mtime, UTC).date()
            return PriceMap(f"litellm {version('litellm')}", dated, json.loads(file.read_text(), parse_float=Decimal))
    return PriceMap("", date.min, {})


def _owner(entry: Entry) -> str:
    owner = str(entry.get("litellm_provider", ""))
    return _SAME.get(owner, owner.partition("-")[0])


def _priced(entry: Entry, key: str, tier: str) -> Price | Unlisted:
    if entry.get("mode") not in _MODES or _is_billed_by_search(entry, key):
        return Unlisted.OTHER_UNIT
    figures, limit = _first_range(entry)
    suffix = "" if tier == STANDARD else f"_{tier}"
    read, written = figures.get(f"input_cost_per_token{suffix}"), figures.get(f"output_cost_per_token{suffix}")
    if read is None or (written is None and entry["mode"] != "embedding"):
        return Unlisted.OTHER_UNIT if any("cost" in name for name in figures) else Unlisted.UNKNOWN
    written, request = written or 0, figures.get("input_cost_per_request") or 0
    if not (read or written or request) and _owner(entry) not in _FREE:
        return Unlisted.UNKNOWN
    cached = figures.get(f"cache_read_input_token_cost{suffix}") or read
    parts = (read, cached, written, request)
    optional = (
        figures.get(f"cache_creation_input_token_cost{suffix}") or None,
        figures.get(f"output_cost_per_reasoning_token{suffix}") or None,
    )
    return _price(key, parts, optional, limit)


def _price(
    key: str, parts: tuple[Any, ...], optional: tuple[Any | None, Any | None], limit: int | None
) -> Price | Unlisted:
    try:
        read, cached, written, request = (_pico(figure) for figure in parts)
        cache_write, reasoning = (None if figure is None else _pico(figure) for figure in optional)
    except ValueError:
        return Unlisted.OTHER_UNIT
    return Price(key, read, cached, written, cache_write, reasoning, request, limit)


def _pico(dollars: Any) -> int:
    """The nearest whole number of pico-dollars. Raises `ValueError` for what is no amount, or really a fraction."""
    if isinstance(dollars, bool) or not isinstance(dollars, int | Decimal) or dollars < 0:
        raise ValueError(dollars)
    exact = Decimal(dollars) * PICO_PER_USD
    nearest = round(exact)
    if abs(exact - nearest) > exact * _NOISE:
        raise ValueError(dollars)
    return nearest


def _first_range(entry: Entry) -> tuple[Entry, int | None]:
    """The figures for requests that are not long, and up to how many input tokens they hold."""
    ranges = entry.get("tiered_pricing")
    if "input_cost_per_token" not in entry and isinstance(ranges, list) and ranges:
        return {**entry, **ranges[0]}, int(ranges[0]["range"][1])
    limits = [int(found[1]) * 1000 for name in entry if (found := _LONG.match(name))]
    return entry, min(limits, default=None)


def _is_billed_by_search(entry: Entry, key: str) -> bool:
    """Models that search by themselves are billed by the search too; of others only if the request asks for it."""
    return "search_context_cost_per_query" in entry and ("search" in key or _owner(entry) == "perplexity")
