"""Parquet, record by record, where pyarrow is installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from datetime import date, datetime, time
from decimal import Decimal
from importlib.util import find_spec
from typing import IO, Any
from uuid import UUID

from datasets.runtime.reading.records import MAX_FIELDS, Items, Record, RowProblem, UnreadableFile

ROWS_AT_ONCE = 1_000

MAX_ROW_GROUP = 128 * 1024 * 1024
"""Bytes of one row group as it is unpacked: it is held in memory."""


def is_parquet_installed() -> bool:
    return find_spec("pyarrow") is not None


def read_parquet(file: IO[bytes]) -> Items:
    """The records of a Parquet file; nulls are missing fields. Raises `UnreadableFile`."""
    if not is_parquet_installed():
        raise UnreadableFile(0, "parquet_not_installed", "Parquet needs the Python package pyarrow.")
    # Loaded by those who read such files only: it is large, and optional.
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    number = 0
    try:
        table = parquet.ParquetFile(file)
        _check_size(table)
        for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield _record(number, row)
    except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:
        # ValueError: moments finer than Python's, text that is not UTF-8; OverflowError: years that it does not have
        raise UnreadableFile(number, "parquet_broken", f"Cannot be read as Parquet: {str(error)[:200]}") from None


def _check_size(table: Any) -> None:
    if len(table.schema_arrow.names) > MAX_FIELDS:
        raise UnreadableFile(0, "too_many_fields", f"More than {MAX_FIELDS} fields.")
    if twice := _twice(table.schema_arrow.names):
        raise UnreadableFile(0, "duplicate_header", "Two columns have this name.", twice)
    groups = (table.metadata.row_group(index).total_byte_size for index in range(table.num_row_groups))
    if max(groups, default=0) > MAX_ROW_GROUP:
        raise UnreadableFile(0, "row_group_too_large", f"A row group holds more than {MAX_ROW_GROUP} bytes.")


def _twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), "")  # type: ignore[func-returns-value]


def _record(number: int, row: dict[str, Any]) -> Record | RowProblem:
    data = {}
    for name, value in row.items():
        try:
            plain = _plain(value)
        except TypeError:
            return RowProblem(number, name, "type_wrong", f"A value of type {type(value).__name__} is no JSON.")
        if plain is not None:
            data[name] = plain
    return Record(number, data)


def _plain(value: Any) -> Any:
    """`value` as JSON knows it. Raises `TypeError`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    raise TypeError
