"""What rows that have ended add to the usage of their days: the one place that knows how something is counted.

It is SQL that both databases speak: counting, correcting and rebuilding give it the keys of rows and say where the sums
go. Rows of usage are added to in the order of their grain, so that two workers which count at once never wait for each
other in a circle. Names of tables and columns come from the models, hence the exceptions to S608.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, models

from executions.models import Evaluation, Execution, UsageDay
from executions.runtime.latency import BUCKET_DIGITS, BUCKETS_PER_DOUBLING, COUNT_AT, COUNT_DIGITS
from executions.selectors.usage import add_counted
from executions.types import UsageKind

KEPT = UsageDay._meta.db_table
GRAIN = ("day", "kind", "program_id", "prompt_set_id", "user_id", "language_model")
BUCKET = f"CAST(substr(e.value, 1, {COUNT_AT - 1}) AS integer)"
HOW_MANY = f"CAST(substr(e.value, {COUNT_AT + 1}) AS bigint)"
"""Of an entry `e` of a histogram."""

SHORTEST_MS = 0.01
"""What took less counts as this: no bucket holds 0."""


def _tokens(line: str) -> str:
    return f"coalesce(sum(CAST(used->>'{line}' AS bigint)), 0)"


FIGURES = {
    "count": "count(*)",
    "failed": "count(*) FILTER (WHERE state = 'failed')",
    "cancelled": "count(*) FILTER (WHERE state = 'cancelled')",
    "unpriced": "count(*) FILTER (WHERE is_unpriced)",
    "calls": _tokens("requests"),
    "input_tokens": _tokens("input"),
    "cached_tokens": _tokens("cached"),
    "cache_write_tokens": _tokens("cache_write"),
    "output_tokens": _tokens("output"),
    "reasoning_tokens": _tokens("reasoning"),
    "cost": "coalesce(sum(cost), 0)",
    "credits": "coalesce(sum(credits), 0)",
    "duration_us": "coalesce(sum(duration_us), 0)",
}
"""The columns that are plain sums, and of what of the parts."""


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of `model` that count as `kind` when they end. The rest is SQL of their columns, the row being `r`."""

    kind: UsageKind
    model: type[models.Model]
    is_unpriced: str
    duration_ms: str
    credits: str = "0"
    latency_ms: str = "NULL"


_sources = [
    Source(
        UsageKind.EXECUTION,
        Execution,
        is_unpriced="r.cost IS NULL AND r.attempt > 0",  # what was cancelled before it ran cost nothing
        duration_ms="r.duration_ms",
        credits="r.credits_used",
        latency_ms="CASE WHEN r.state <> 'cancelled' THEN r.duration_ms END",
    ),
    Source(UsageKind.EVALUATION, Evaluation, is_unpriced="r.unpriced > 0", duration_ms="r.seconds * 1000"),
]


def add_source(source: Source) -> None:
    """Have rows of a higher app counted, too. The model has the columns of `Work`, `is_counted`, `cost`, `token_usage`,
    `program` and `prompt_set`."""
    if source not in _sources:
        _sources.append(source)
        add_counted(source.model)


def sources() -> Sequence[Source]:
    return tuple(_sources)


def contribute(source: Source, keys: Sequence[UUID], *, sign: int = 1, into: str = KEPT) -> None:
    """Add what the rows of `keys` used to the sums, or with `sign` -1 take it away again; the caller holds the rows."""
    if not keys:
        return
    with_parts = f"WITH {_ended(source, len(keys))}, {_parts()}"
    inserts = [_insert(source, into, sign, is_everybody) for is_everybody in (True, False)]
    if connection.vendor == "postgresql":  # the rows are read once for both, which are carried out in this order
        with_parts, inserts = f"{with_parts}, of_everybody AS ({inserts[0]})", inserts[1:]
    with connection.cursor() as cursor:
        for insert in inserts:
            cursor.execute(f"{with_parts} {insert}", [_adapted(key) for key in keys])


def grain_condition(is_everybody: bool) -> str:
    """Each of the two grains has a unique index of its own."""
    return "user_id IS NULL" if is_everybody else "NOT (user_id IS NULL)"


def on_conflict(table: str, is_everybody: bool) -> str:
    """What adds a row to the one of the same grain, which is there already."""
    target = [column for column in GRAIN if not (is_everybody and column == "user_id")]
    sums = ", ".join(f"{figure} = {table}.{figure} + excluded.{figure}" for figure in FIGURES)
    buckets = f"SELECT {BUCKET} AS bucket, {HOW_MANY} AS n FROM"
    both = f"{buckets} {each(f'{table}.histogram')} UNION ALL {buckets} {each('excluded.histogram')}"
    return f"""
        ON CONFLICT ({", ".join(target)}) WHERE {grain_condition(is_everybody)} DO UPDATE SET {sums},
        histogram = (SELECT {folded("bucket", "n")} FROM (
            SELECT bucket, sum(n) AS n FROM ({both}) AS unfolded GROUP BY bucket HAVING sum(n) <> 0 ORDER BY bucket
        ) AS merged)
    """  # noqa: S608


def each(histogram: str) -> str:
    """The entries of a histogram as rows `e`; `BUCKET` and `HOW_MANY` read them."""
    if connection.vendor == "postgresql":
        return f"unnest(string_to_array({histogram}, ',')) AS e (value)"
    listed = f"""'["' || replace({histogram}, ',', '","') || '"]'"""
    return f"json_each(CASE WHEN {histogram} = '' THEN '[]' ELSE {listed} END) AS e"


def folded(bucket: str, n: str) -> str:
    """The aggregate of rows (bucket, n) as a histogram; see `executions.runtime.latency`."""
    entry = f"{_signed(bucket, BUCKET_DIGITS)} || ':' || {_signed(n, COUNT_DIGITS)}"
    if connection.vendor == "postgresql":
        return f"coalesce(string_agg({entry}, ',' ORDER BY {bucket}), '')"
    return f"coalesce(group_concat({entry}, ','), '')"


def _signed(number: str, digits: int) -> str:
    if connection.vendor == "postgresql":
        return f"to_char({number}, 'SG{'0' * digits}')"
    return f"CASE WHEN {number} < 0 THEN '-' ELSE '+' END || substr('{'0' * digits}' || abs({number}), -{digits})"


def _insert(source: Source, table: str, sign: int, is_everybody: bool) -> str:
    """Sums by grain, joined with the histograms of the same grain."""
    by = ("day", "program_id", "prompt_set_id", *(() if is_everybody else ("user_id",)), "language_model")
    grain = ", ".join(by)
    values = {"kind": f"'{source.kind.value}'", "user_id": "CAST(NULL AS uuid)" if is_everybody else "s.user_id"}
    key = [values.get(column, f"s.{column}") for column in GRAIN]
    sums = ", ".join(f"{sign} * {sql} AS {figure}" for figure, sql in FIGURES.items())
    return f"""
        INSERT INTO {table} ({", ".join((*GRAIN, *FIGURES, "histogram"))})
        SELECT {", ".join((*key, *FIGURES))}, coalesce(h.histogram, '')
        FROM (SELECT {grain}, {sums} FROM parts GROUP BY {grain}) AS s
        LEFT JOIN (
            SELECT {grain}, {folded("bucket", "n")} AS histogram FROM (
                SELECT {grain}, bucket, {sign} * count(*) AS n FROM parts WHERE bucket IS NOT NULL
                GROUP BY {grain}, bucket ORDER BY bucket
            ) AS counted GROUP BY {grain}
        ) AS h ON {" AND ".join(f"h.{column} = s.{column}" for column in by)}
        WHERE true ORDER BY {", ".join(f"s.{column}" for column in by)}
        {on_conflict(table, is_everybody)}
    """  # noqa: S608


def _ended(source: Source, keys: int) -> str:
    """The rows, each with what is counted of it."""
    is_postgresql = connection.vendor == "postgresql"
    day = "CAST(r.finished_at AT TIME ZONE 'UTC' AS date)" if is_postgresql else "date(r.finished_at)"
    shortest = f"CASE WHEN {source.latency_ms} < {SHORTEST_MS} THEN {SHORTEST_MS} ELSE {source.latency_ms} END"
    doublings = f"ln(CAST({shortest} AS double precision)) / ln(2.0)"
    return f"""
        ended AS (
            SELECT {day} AS day, r.program_id, r.prompt_set_id, r.user_id, r.state, r.token_usage,
                r.cost AS whole_cost, {source.is_unpriced} AS is_unpriced_whole, {source.credits} AS whole_credits,
                CAST(round(({source.duration_ms}) * 1000) AS bigint) AS duration_us,
                CAST(ceiling({doublings} * {BUCKETS_PER_DOUBLING}) AS integer) AS bucket
            FROM {source.model._meta.db_table} AS r WHERE r.id IN ({", ".join(["%s"] * keys)})
        )
    """  # noqa: S608


def _parts() -> str:
    """Each row as a whole, and once for every language model that it used. The cost of a language model is what stands
    beside its tokens, or the whole cost where it was the only one."""
    is_postgresql = connection.vendor == "postgresql"
    by_model = "jsonb_each(token_usage->'by_model')" if is_postgresql else "json_each(token_usage, '$.by_model')"
    own_cost = f"""
        CASE WHEN m.value->>'cost' IS NOT NULL THEN CAST(m.value->>'cost' AS bigint)
             WHEN (SELECT count(*) FROM {by_model}) = 1 THEN whole_cost END
    """  # noqa: S608
    return f"""
        used_models AS (
            SELECT ended.*, m.key AS language_model, m.value AS used, {own_cost} AS cost FROM ended, {by_model} AS m
        ), parts AS (
            SELECT day, program_id, prompt_set_id, user_id, state, duration_us, bucket, '' AS language_model,
                token_usage AS used, whole_cost AS cost, is_unpriced_whole AS is_unpriced, whole_credits AS credits
            FROM ended
            UNION ALL
            SELECT day, program_id, prompt_set_id, user_id, state, duration_us, bucket, language_model,
                used, cost, cost IS NULL, 0
            FROM used_models
        )
    """  # noqa: S608


def _adapted(key: UUID) -> Any:
    return UsageDay._meta.get_field("user").target_field.get_db_prep_value(key, connection)
