"""Proving usage: the sums are made anew from the rows, beside the kept ones, and compared.

It works while others execute and count: everything is read from one snapshot of the database, and what differs is then
added to the kept sums, as counting adds to them, so that what was counted meanwhile stays. Whatever the number of
executions, no more than a batch of keys is in memory; the sums are made in temporary tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import connection, transaction

from executions.runtime.latency import merged
from executions.services.usage.contributions import (
    BUCKET,
    FIGURES,
    GRAIN,
    HOW_MANY,
    KEPT,
    Source,
    contribute,
    each,
    folded,
    grain_condition,
    on_conflict,
    sources,
)

BATCH = 2_000
SHOWN = 20
"""Differences that are told one by one."""

ANEW, DIFFERENCES = f"anew_{KEPT}", f"difference_{KEPT}"
LATENCIES = "latencies"
"""What a difference calls the histogram: how many executions its buckets miss, or have too many, in all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A sum that is not what its rows say: what it is of, and per figure how much is missing (or too much, below 0)."""

    of: dict[str, Any]
    missing: dict[str, int]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What comparing found: the rows that were read, the number of sums that differed, and some of them."""

    rows: int
    different: int
    examples: tuple[Difference, ...]


def rebuild_usage(*, check_only: bool = False, since: date | None = None) -> Rebuilt:
    """Compare the usage with what its rows say, and unless `check_only` correct it.

    `since`: days from that one on, where the executions of earlier days are not kept any more.
    """
    with _temporary_tables():
        with _snapshot():
            rows = sum(_made_anew(source, since) for source in sources())
            _compare(since)
        different = int(_fetched(f"SELECT count(*) FROM {DIFFERENCES}")[0][0])  # noqa: S608
        examples = tuple(_told())
        if different and not check_only:
            _correct()
    return Rebuilt(rows, different, examples)


@contextmanager
def _temporary_tables() -> Iterator[None]:
    try:
        for name in (ANEW, DIFFERENCES):
            _run(f"CREATE TEMPORARY TABLE {name} AS SELECT * FROM {KEPT} WHERE false")  # noqa: S608
        for is_everybody, name in ((True, "of_everybody"), (False, "of_users")):
            columns = ", ".join(column for column in GRAIN if not (is_everybody and column == "user_id"))
            _run(f"CREATE UNIQUE INDEX {ANEW}_{name} ON {ANEW} ({columns}) WHERE {grain_condition(is_everybody)}")
        yield
    finally:
        for name in (ANEW, DIFFERENCES):
            _run(f"DROP TABLE IF EXISTS {name}")


@contextmanager
def _snapshot() -> Iterator[None]:
    """Every read in here sees the database as it was at the first one; on SQLite others may write all the same."""
    if connection.vendor == "postgresql":
        with transaction.atomic(durable=True):
            _run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield
        return
    _run("BEGIN DEFERRED")  # Django's own transactions would keep writers out
    try:
        yield
    finally:
        _run("COMMIT")


def _made_anew(source: Source, since: date | None) -> int:
    """Sum up all counted rows, batch by batch in the order of their keys; how many they are."""
    counted = source.model._default_manager.filter(is_counted=True).order_by("pk")
    if since is not None:
        counted = counted.filter(finished_at__date__gte=since)
    done, last = 0, None
    while True:
        after = counted if last is None else counted.filter(pk__gt=last)
        keys = list(after.values_list("pk", flat=True)[:BATCH])
        if not keys:
            return done
        contribute(source, keys, into=ANEW)
        done, last = done + len(keys), keys[-1]


def _compare(since: date | None) -> None:
    """Keep what is in the sums made anew and not in the kept ones, below 0 where the kept ones have too much."""
    grain = ", ".join(GRAIN)
    kept = ", ".join(f"-{figure}" for figure in FIGURES)
    sums = ", ".join(f"sum({figure}) AS {figure}" for figure in FIGURES)
    _run(
        f"""
        INSERT INTO {DIFFERENCES} ({grain}, {", ".join(FIGURES)}, histogram)
        WITH both_of_them AS (
            SELECT {grain}, {", ".join(FIGURES)}, histogram, 1 AS sign FROM {ANEW}
            UNION ALL SELECT {grain}, {kept}, histogram, -1 FROM {KEPT} {"" if since is None else "WHERE day >= %s"}
        ), sums AS (
            SELECT {grain}, {sums} FROM both_of_them GROUP BY {grain}
        ), buckets AS (
            SELECT {grain}, {BUCKET} AS bucket, sum(sign * {HOW_MANY}) AS n
            FROM both_of_them, {each("both_of_them.histogram")}
            GROUP BY {grain}, {BUCKET} HAVING sum(sign * {HOW_MANY}) <> 0
        ), histograms AS (
            SELECT {grain}, {folded("bucket", "n")} AS histogram FROM buckets GROUP BY {grain}
        )
        SELECT {", ".join(f"s.{column}" for column in (*GRAIN, *FIGURES))}, coalesce(h.histogram, '')
        FROM sums AS s LEFT JOIN histograms AS h ON {" AND ".join(map(_same, GRAIN))}
        WHERE h.histogram IS NOT NULL OR {" OR ".join(f"s.{figure} <> 0" for figure in FIGURES)}
        """,  # noqa: S608
        [] if since is None else [since.isoformat()],
    )


def _same(column: str) -> str:
    if column != "user_id":
        return f"h.{column} = s.{column}"
    return "coalesce(CAST(h.user_id AS varchar(36)), '') = coalesce(CAST(s.user_id AS varchar(36)), '')"


def _told() -> Iterator[Difference]:
    names = (*GRAIN, *FIGURES, "histogram")
    found = _fetched(f"SELECT {', '.join(names)} FROM {DIFFERENCES} ORDER BY day DESC LIMIT {SHOWN}")  # noqa: S608
    for row in found:
        values = dict(zip(names, row, strict=True))
        missing = {figure: int(values[figure]) for figure in FIGURES if values[figure]}
        if buckets := merged([values["histogram"]]):
            missing[LATENCIES] = sum(buckets.values())
        yield Difference({column: values[column] for column in GRAIN}, missing)


def _correct() -> None:
    columns = ", ".join((*GRAIN, *FIGURES, "histogram"))
    with transaction.atomic():
        for is_everybody in (True, False):  # in the order of `contribute`
            _run(
                f"""
                INSERT INTO {KEPT} ({columns}) SELECT {columns} FROM {DIFFERENCES}
                WHERE {grain_condition(is_everybody)} ORDER BY {", ".join(GRAIN)}
                {on_conflict(KEPT, is_everybody)}
                """  # noqa: S608
            )


def _run(sql: str, parameters: Sequence[Any] = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)


def _fetched(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())
