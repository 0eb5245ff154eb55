"""A usage report as CSV, read page by page while it is sent: each group once, whatever is counted meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from functools import partial
from typing import Any

from datasets.runtime.writing import DelimitedWriter
from executions.selectors.usage import MAX_PAGE, Figures, Group, UsageQuery, usage_groups
from executions.types import GroupBy
from mlops.models import User
from mlops.money import as_decimal
from mlops.services.database import off_the_loop
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD

COLUMNS: dict[GroupBy, dict[str, str]] = {
    GroupBy.DAY: {"day": "day"},
    GroupBy.PROGRAM: {"program": "program__name"},
    GroupBy.VERSION: {"program": "program__name", "version": "program__version"},
    GroupBy.PROMPT_VERSION: {
        "program": "program__name",
        "version": "program__version",
        "module": "prompt_set__versions__module__key",
        "prompt_version": "prompt_set__versions__version",
    },
    GroupBy.USER: {"user": "user__username"},
    GroupBy.LANGUAGE_MODEL: {"language_model": "language_model"},
}
"""How the columns of a group are called in the file."""

COUNTS = (
    "executions", "failed", "cancelled", "evaluations", "optimizations", "unpriced", "calls", "input_tokens",
    "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip
COSTS = ("cost", "execution_cost", "evaluation_cost", "optimization_cost")
PAGE = MAX_PAGE
PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")


async def usage_csv(actor: User, query: UsageQuery) -> AsyncIterator[bytes]:
    """The groups of the report in the order of their names; what a spreadsheet would calculate is neutralised. No more
    than a page is in memory. Raises as `usage_report`."""
    names = [*COLUMNS[query.group_by], *COUNTS, *(f"{name}_usd" for name in COSTS), "credits", *PERCENTILES]
    writer = DelimitedWriter(names, ",")
    yield writer.begin()
    groups: list[Group] = []
    while True:
        last = groups[-1] if groups else None
        groups = await off_the_loop(partial(usage_groups, actor=actor, query=query, after=last, size=PAGE))
        yield writer.rows(_row(query.group_by, group) for group in groups)
        if len(groups) < PAGE:
            return


def _row(group_by: GroupBy, group: Group) -> dict[str, Any]:
    found: Figures = group.figures
    row = {name: _text(group.of[key]) for name, key in COLUMNS[group_by].items()}
    row |= {name: getattr(found, name) for name in COUNTS}
    row |= {f"{name}_usd": as_decimal(getattr(found, name), PICO_PER_USD) for name in COSTS}
    row["credits"] = as_decimal(found.credits, MICRO_PER_CREDIT)
    if found.latency is not None:
        row |= {name: round(getattr(found.latency, name), 3) for name in PERCENTILES}
    return row


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
