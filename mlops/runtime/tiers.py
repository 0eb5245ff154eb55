"""Service tiers: the same tokens at another price for another urgency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STANDARD = "standard"
_STANDARD_WORDS = frozenset({"auto", "default", STANDARD, "on_demand"})


def tier_of(told: object) -> str:
    """The tier that a provider's word means; empty for what is no word."""
    word = told.casefold() if isinstance(told, str) else ""
    return STANDARD if word in _STANDARD_WORDS else word


def tier_asked(parameters: Mapping[str, Any]) -> str:
    """The service tier that these parameters of a model ask for."""
    return tier_of(parameters.get("service_tier")) or STANDARD
