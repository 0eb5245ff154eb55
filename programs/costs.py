"""What programs cost: only the app that executes them knows, and says so here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias
from uuid import UUID

MonthlyCosts: TypeAlias = Callable[[Collection[UUID]], Mapping[UUID, int]]
"""Pico-dollars of the last 30 days by program version, in one query."""

_sources: list[MonthlyCosts] = []


def costs_come_from(call: MonthlyCosts) -> None:
    """Have `monthly_costs` answered by `call`."""
    _sources[:] = [call]


def monthly_costs(programs: Collection[UUID]) -> dict[UUID, int]:
    """Pico-dollars of each of `programs` in the last 30 days; 0 where nothing executes."""
    found = [source(programs) for source in _sources]
    return {program: sum(costs.get(program, 0) for costs in found) for program in programs}
