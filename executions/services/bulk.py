"""Rows to SQL, many at once: what `bulk_create` does in several times the time.

Only the group-commit writer uses it. PostgreSQL gets a batch as one JSON parameter, which it unpacks itself: that costs
the client a tenth of as many parameters as there are values. SQLite gets the values as parameters. Names of tables and
columns come from the models, hence the exceptions to S608.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import orjson
from django.db import connection, models

Rows = Sequence[models.Model]


class Column(NamedTuple):
    field: Any
    attribute: str
    name: str
    kind: str
    adapt: Callable[[Any], Any]


def _as_json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


@lru_cache(maxsize=64)
def columns(model: type[models.Model], vendor: str, attributes: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """The columns of `model`, or those of `attributes`, with how a value becomes a parameter."""
    chosen = [field for field in model._meta.concrete_fields if not attributes or field.attname in attributes]
    return tuple(map(_column, chosen))


def _column(field: Any) -> Column:
    stored = field.target_field if field.is_relation else field
    kind = stored.rel_db_type(connection) or stored.db_type(connection)
    if isinstance(stored, models.JSONField):
        return Column(field, field.attname, field.column, kind, _as_json)
    return Column(field, field.attname, field.column, kind, lambda value: stored.get_db_prep_value(value, connection))


def insert(rows: Rows, returning: str, on_conflict: str = "ON CONFLICT (id) DO NOTHING") -> list[Any]:
    """Insert `rows` of one model; the column `returning` of those that were not there before."""
    if not rows:
        return []
    table, found = rows[0]._meta.db_table, columns(type(rows[0]), connection.vendor)
    for column in found:
        if getattr(column.field, "auto_now_add", False):
            for row in rows:
                column.field.pre_save(row, True)  # sets the time of creation
    source, parameters = _source(found, rows)
    sql = f'{source} INSERT INTO "{table}" ({_names(found)}) SELECT {_names(found)} FROM v WHERE true {on_conflict} RETURNING {returning}'  # noqa: S608, E501
    return [record[0] for record in _fetched(sql, parameters)]


def update(rows: Rows, attributes: tuple[str, ...], guard: str) -> set[Any]:
    """Store `attributes` of `rows` of one model, each guarded by the condition `guard`; keys of the rows it met.

    `guard` names the stored values by `<table>.<column>`, the new ones by `v.<column>`.
    """
    if not rows:
        return set()
    table, key = rows[0]._meta.db_table, rows[0]._meta.pk
    found = columns(type(rows[0]), connection.vendor, (key.attname, *attributes))
    source, parameters = _source(found, rows)
    changes = ", ".join(f'"{column.name}" = v."{column.name}"' for column in found if column.name != key.column)
    sql = f"""
        {source} UPDATE "{table}" SET {changes} FROM v
        WHERE "{table}"."{key.column}" = v."{key.column}" AND ({guard}) RETURNING "{table}"."{key.column}"
    """  # noqa: S608
    return {key.to_python(record[0]) for record in _fetched(sql, parameters)}


def add(model: type[models.Model], key: Any, column: str, amount: int) -> int:
    """Add to a column of one row; its new value."""
    identity = model._meta.pk.get_db_prep_value(key, connection)
    sql = f'UPDATE "{model._meta.db_table}" SET "{column}" = "{column}" + %s WHERE id = %s RETURNING "{column}"'  # noqa: S608
    return int(_fetched(sql, [amount, identity])[0][0])


def _source(found: Sequence[Column], rows: Rows) -> tuple[str, list[Any]]:
    """A common table expression `v` with the values of `rows`, and its parameters."""
    values = list(map(attrgetter(*(column.attribute for column in found)), rows))
    if connection.vendor == "postgresql":
        kinds = ", ".join(f'"{column.name}" {column.kind}' for column in found)
        names = [column.name for column in found]
        records = [dict(zip(names, row, strict=True)) for row in values]
        text = orjson.dumps(records, option=orjson.OPT_NON_STR_KEYS).decode()
        return f"WITH v AS (SELECT * FROM json_to_recordset(%s::json) AS r ({kinds}))", [text]
    one = f"({', '.join(['%s'] * len(found))})"
    adapted = [column.adapt(value) for row in values for column, value in zip(found, row, strict=True)]
    return f"WITH v ({_names(found)}) AS (VALUES {', '.join([one] * len(values))})", adapted


def _names(found: Sequence[Column]) -> str:
    return ", ".join(f'"{column.name}"' for column in found)


def _fetched(sql: str, parameters: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
