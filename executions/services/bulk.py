"""A batch of executions to SQL: starts, ends and ledger lines at once.

PostgreSQL gets the batch as three JSON parameters of one statement, which is a transaction and a round trip of its own:
adapting every value by itself took most of the writer's time, and each further statement is one more round trip that
everybody in the batch waits for.
SQLite, which is in process, takes the same steps one by one. The group-commit writer uses this, and evaluations insert
their items by it; names of tables and columns come from the models, hence the exceptions to S608.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, models

from executions.models import Execution
from mlops.encoding import encoded
from mlops.models import CreditEntry, User

Rows = Sequence[models.Model]

FINISHED_COLUMNS = (
    "state", "input", "output", "trace", "flags", "error_code", "error_message", "error_module", "token_usage",
    "total_tokens", "cost", "prices", "language_models", "credits_used", "duration_ms", "waited_ms", "revision",
    "lease_token", "finished_at",
)  # fmt: skip
EXECUTIONS, LINES, USERS = Execution._meta.db_table, CreditEntry._meta.db_table, User._meta.db_table

# Only who holds the lease may end an execution. The second alternative lets an end be repeated whose commit succeeded
# but whose answer was lost.
MINE = f"""
    {EXECUTIONS}.id = f.id AND {EXECUTIONS}.lease_token = f.lease_token
    AND ({EXECUTIONS}.state = 'running' OR {EXECUTIONS}.finished_at = f.finished_at)
"""


class Stored(NamedTuple):
    """Keys of the ends that met their lease, and balances: the new ones, and those of the users to be locked."""

    met: set[UUID]
    balances: dict[UUID, int]


class Column(NamedTuple):
    attribute: str
    name: str
    kind: str
    adapt: Callable[[Any], Any]


def store(
    started: Sequence[Execution],
    finished: Sequence[Execution],
    lines: Sequence[CreditEntry],
    locking: Collection[UUID] = (),
) -> Stored:
    """Insert `started`, end those of `finished` that still hold their lease, and book the lines of both.

    A line is booked once, by its key, and only with the execution that it is about. No execution is there twice.
    The accounts `locking` are locked too, until the caller's transaction ends.
    """
    if connection.vendor == "postgresql":
        return _in_one_statement(started, finished, lines, locking)
    return _step_by_step(started, finished, lines, locking)


def insert(rows: Rows, returning: str, on_conflict: str) -> list[Any]:
    """Insert `rows` of one model; the column `returning` of those that were not there before."""
    if not rows:
        return []
    found = columns(type(rows[0]))
    source, parameters = _source("s", found, rows)
    sql = f"""
        WITH {source} INSERT INTO {rows[0]._meta.db_table} ({_names(found)}) SELECT {_names(found)} FROM s WHERE true
        {on_conflict} RETURNING {returning}
    """  # noqa: S608
    return [record[0] for record in _fetched(sql, parameters)]


def change(rows: Sequence[Execution], attributes: tuple[str, ...]) -> None:
    """Store these columns of executions that have ended."""
    found = columns(Execution, attributes)
    source, parameters = _source("f", found, rows)
    sql = f"WITH {source} UPDATE {EXECUTIONS} SET {_changes(found)} FROM f WHERE {EXECUTIONS}.id = f.id"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def _in_one_statement(started: Rows, finished: Rows, lines: Rows, locking: Collection[UUID]) -> Stored:
    """The tables that a statement changes are seen by its other parts as they were before: nothing here relies on it,
    since no execution starts and ends in one batch.

    Against deadlocks everybody locks executions before accounts, and accounts in the order of their keys; without their
    keys, so that rows which only refer to an account wait for nobody.
    """
    starts, ends, entries = columns(Execution), columns(Execution, FINISHED_COLUMNS), columns(CreditEntry)
    sources = [_source("s", starts, started), _source("f", ends, finished), _source("l", entries, lines)]
    sql = f"""
        WITH {", ".join(text for text, _parameters in sources)},
        begun AS (
            INSERT INTO {EXECUTIONS} ({_names(starts)}) SELECT {_names(starts)} FROM s
            ON CONFLICT (id) DO NOTHING RETURNING id
        ), met AS (
            UPDATE {EXECUTIONS} SET {_changes(ends)} FROM f WHERE {MINE} RETURNING {EXECUTIONS}.id
        ), booked AS (
            INSERT INTO {LINES} ({_names(entries)}) SELECT {_names(entries)} FROM l
            WHERE l.subject_id IN (SELECT id FROM begun UNION ALL SELECT id FROM met)
            ON CONFLICT (key) DO NOTHING RETURNING user_id, amount
        ), locked AS (
            SELECT id, ml_credits FROM {USERS}
            WHERE id IN (SELECT user_id FROM booked) OR id = ANY(%s::uuid[]) ORDER BY id FOR NO KEY UPDATE
        ), moved AS (
            UPDATE {USERS} SET ml_credits = ml_credits + b.total
            FROM (SELECT user_id, sum(amount)::bigint AS total FROM booked GROUP BY user_id) AS b
            WHERE {USERS}.id = b.user_id AND {USERS}.id IN (SELECT id FROM locked)
            RETURNING {USERS}.id, ml_credits
        )
        SELECT id, NULL FROM met UNION ALL SELECT id, ml_credits FROM moved
        UNION ALL SELECT id, ml_credits FROM locked WHERE id NOT IN (SELECT id FROM moved)
    """  # noqa: S608
    parameters = [value for _text, values in sources for value in values]
    answer = _fetched(sql, [*parameters, [str(key) for key in locking]])
    return Stored(
        {key for key, balance in answer if balance is None},
        {key: balance for key, balance in answer if balance is not None},
    )


def _step_by_step(
    started: Rows, finished: Sequence[Execution], lines: Sequence[CreditEntry], locking: Collection[UUID]
) -> Stored:
    """On SQLite whoever writes has locked everything."""
    begun = set(map(_as_uuid, insert(started, "id", "ON CONFLICT (id) DO NOTHING")))
    met = {execution.pk for execution in finished if _end(execution)}
    due = {line.pk: line for line in lines if line.subject_id in begun | met}
    moved: dict[UUID, int] = defaultdict(int)
    for key in insert(list(due.values()), "id", "ON CONFLICT (key) DO NOTHING"):
        line = due[_as_uuid(key)]
        moved[line.user_id] += line.amount
    new = {user_id: _add_credits(user_id, amount) for user_id, amount in moved.items()}
    kept = User.objects.filter(pk__in=set(locking) - new.keys()).values_list("pk", "ml_credits") if locking else ()
    return Stored(met, {**new, **dict(kept)})


def _end(execution: Execution) -> bool:
    found = columns(Execution, FINISHED_COLUMNS)
    source, parameters = _source("f", found, [execution])
    sql = f"WITH {source} UPDATE {EXECUTIONS} SET {_changes(found)} FROM f WHERE {MINE} RETURNING {EXECUTIONS}.id"  # noqa: S608
    return bool(_fetched(sql, parameters))


def _add_credits(user_id: UUID, amount: int) -> int:
    sql = f"UPDATE {USERS} SET ml_credits = ml_credits + %s WHERE id = %s RETURNING ml_credits"  # noqa: S608
    return int(_fetched(sql, [amount, User._meta.pk.get_db_prep_value(user_id, connection)])[0][0])


@lru_cache(maxsize=16)
def columns(model: type[models.Model], attributes: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """The columns of `model`, or its key and those of `attributes`, with how a value becomes a parameter of SQLite."""
    fields = model._meta.concrete_fields
    return tuple(
        _column(field) for field in fields if not attributes or field.primary_key or field.attname in attributes
    )


def _column(field: Any) -> Column:
    stored = field.target_field if field.is_relation else field
    kind = stored.rel_db_type(connection) or stored.db_type(connection)
    if isinstance(stored, models.JSONField):
        return Column(field.attname, field.column, kind, _as_json)
    return Column(field.attname, field.column, kind, lambda value: stored.get_db_prep_value(value, connection))


def _as_json(value: Any) -> str | None:
    return None if value is None else encoded(value).decode()


def _source(alias: str, found: Sequence[Column], rows: Rows) -> tuple[str, list[Any]]:
    """A common table expression with the values of `rows`, and its parameters."""
    values = list(map(attrgetter(*(column.attribute for column in found)), rows))
    if connection.vendor == "postgresql":
        names = [column.name for column in found]
        kinds = ", ".join(f'"{column.name}" {column.kind}' for column in found)
        records = [dict(zip(names, row, strict=True)) for row in values]
        text = encoded(records).decode()
        return f"{alias} AS (SELECT * FROM json_to_recordset(%s::json) AS r ({kinds}))", [text]  # noqa: S608
    one = f"({', '.join(['%s'] * len(found))})"
    adapted = [column.adapt(value) for row in values for column, value in zip(found, row, strict=True)]
    return f"{alias} ({_names(found)}) AS (VALUES {', '.join([one] * len(values))})", adapted


def _names(found: Sequence[Column]) -> str:
    return ", ".join(f'"{column.name}"' for column in found)


def _changes(found: Sequence[Column]) -> str:
    return ", ".join(f'"{column.name}" = f."{column.name}"' for column in found if column.name != "id")


def _as_uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _fetched(sql: str, parameters: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
