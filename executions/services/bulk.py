"""Rows to SQL, many at once: what `bulk_create` does in four times the time.

Only the group-commit writer uses it. Column names come from the models and values pass as parameters, hence the
exceptions to S608.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from django.db import connection, models


class Column(NamedTuple):
    field: Any
    attribute: str
    name: str
    placeholder: str
    adapt: Callable[[Any], Any]


def _as_json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


@lru_cache(maxsize=64)
def columns(model: type[models.Model], vendor: str, attributes: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """The columns of `model`, or those of `attributes`, with how a value becomes a parameter."""
    chosen = [field for field in model._meta.concrete_fields if not attributes or field.attname in attributes]
    return tuple(_column(field, vendor) for field in chosen)


def _column(field: Any, vendor: str) -> Column:
    stored = field.target_field if field.is_relation else field
    kind = stored.rel_db_type(connection) or stored.db_type(connection)
    placeholder = f"%s::{kind}" if vendor == "postgresql" else "%s"
    if isinstance(stored, models.JSONField):
        return Column(field, field.attname, field.column, placeholder, _as_json)
    return Column(
        field, field.attname, field.column, placeholder, lambda value: stored.get_db_prep_value(value, connection)
    )


def _row(found: Sequence[Column], instance: models.Model, *, is_new: bool) -> list[Any]:
    if is_new:  # `pre_save` sets the time of creation
        return [column.adapt(column.field.pre_save(instance, True)) for column in found]
    return [column.adapt(getattr(instance, column.attribute)) for column in found]


def insert(rows: Sequence[models.Model], returning: str, on_conflict: str = "ON CONFLICT (id) DO NOTHING") -> list[Any]:
    """Insert `rows` of one model; the column `returning` of those that were not there before."""
    if not rows:
        return []
    table, found = rows[0]._meta.db_table, columns(type(rows[0]), connection.vendor)
    one = f"({', '.join(column.placeholder for column in found)})"
    names = ", ".join(f'"{column.name}"' for column in found)
    sql = f'INSERT INTO "{table}" ({names}) VALUES {", ".join([one] * len(rows))} {on_conflict} RETURNING {returning}'  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, [value for row in rows for value in _row(found, row, is_new=True)])
        return [record[0] for record in cursor.fetchall()]


def update(rows: Sequence[models.Model], attributes: tuple[str, ...], guard: str) -> set[Any]:
    """Store `attributes` of `rows` of one model, each guarded by the condition `guard`; keys of the rows it met.

    `guard` names the stored values by `<table>.<column>`, the new ones by `v.<column>`.
    """
    if not rows:
        return set()
    table, key = rows[0]._meta.db_table, rows[0]._meta.pk
    found = columns(type(rows[0]), connection.vendor, (key.attname, *attributes))
    changes = ", ".join(f'"{column.name}" = v."{column.name}"' for column in found if column.name != key.column)
    aliases = ", ".join(f'"{column.name}"' for column in found)
    one = f"({', '.join(column.placeholder for column in found)})"
    values = [value for row in rows for value in _row(found, row, is_new=False)]
    rows_given = ", ".join([one] * len(rows))
    sql = f"""
        WITH v ({aliases}) AS (VALUES {rows_given})
        UPDATE "{table}" SET {changes} FROM v WHERE "{table}"."{key.column}" = v."{key.column}" AND ({guard})
        RETURNING "{table}"."{key.column}"
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return {key.to_python(record[0]) for record in cursor.fetchall()}


def add(model: type[models.Model], key: Any, column: str, amount: int) -> int:
    """Add to a column of one row; its new value."""
    identity = model._meta.pk.get_db_prep_value(key, connection)
    sql = f'UPDATE "{model._meta.db_table}" SET "{column}" = "{column}" + %s WHERE id = %s RETURNING "{column}"'  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, [amount, identity])
        return int(cursor.fetchone()[0])
