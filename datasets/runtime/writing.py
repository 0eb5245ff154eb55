"""Examples as files: CSV, TSV, JSON and JSON Lines piece by piece, Parquet (with pyarrow) as a whole file.

JSON and JSON Lines lose nothing. In CSV and TSV a missing, null and empty value look alike, nested values are JSON, and
a text that a spreadsheet would calculate gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Protocol

FORMULA = re.compile(r"[=+\-@\t\r\n]")
"""What makes a spreadsheet calculate a cell, or look for something to calculate behind white space."""

PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Writer(Protocol):
    """The pieces of a file: `begin`, any number of `rows`, `end`."""

    def begin(self) -> bytes: ...
    def rows(self, examples: Iterable[Mapping[str, Any]]) -> bytes: ...
    def end(self) -> bytes: ...


class DelimitedWriter:
    """CSV and TSV with a header of `fields`."""

    def __init__(self, fields: Sequence[str], delimiter: str) -> None:
        self._fields = fields
        self._delimiter = delimiter

    def begin(self) -> bytes:
        return self._encoded([[neutral(name) for name in self._fields]])

    def rows(self, examples: Iterable[Mapping[str, Any]]) -> bytes:
        return self._encoded([cell_of(data.get(name)) for name in self._fields] for data in examples)

    def end(self) -> bytes:
        return b""

    def _encoded(self, rows: Iterable[Sequence[str]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter).writerows(rows)
        return text.getvalue().encode()


class JsonLinesWriter:
    """One object per line."""

    def begin(self) -> bytes:
        return b""

    def rows(self, examples: Iterable[Mapping[str, Any]]) -> bytes:
        return "".join(f"{_json(data)}\n" for data in examples).encode()

    def end(self) -> bytes:
        return b""


class JsonWriter:
    """An array of objects."""

    def __init__(self) -> None:
        self._separator = "\n"

    def begin(self) -> bytes:
        return b"["

    def rows(self, examples: Iterable[Mapping[str, Any]]) -> bytes:
        pieces = []
        for data in examples:
            pieces.append(f"{self._separator}{_json(data)}")
            self._separator = ",\n"
        return "".join(pieces).encode()

    def end(self) -> bytes:
        return b"\n]\n"


def cell_of(value: Any) -> str:
    """A value as the text of a cell that no spreadsheet calculates."""
    if value is None:
        return ""
    return neutral(value) if isinstance(value, str) else _json(value)


def neutral(text: str) -> str:
    """`text`, with an apostrophe before what would be calculated; plain numbers stay."""
    return f"'{text}" if FORMULA.match(text) and not PLAIN_NUMBER.fullmatch(text) else text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class ParquetFile:
    """A Parquet file, written batch by batch. Fields of one scalar type are columns of it, all others hold JSON."""

    def __init__(self, file: IO[bytes], kinds: Mapping[str, str]) -> None:
        self._arrow = importlib.import_module("pyarrow")
        self._kinds = kinds
        types = {
            "boolean": self._arrow.bool_(),
            "integer": self._arrow.int64(),
            "number": self._arrow.float64(),
        }
        self._schema = self._arrow.schema(
            [(name, types.get(kind, self._arrow.string())) for name, kind in kinds.items()]
        )
        self._writer = importlib.import_module("pyarrow.parquet").ParquetWriter(file, self._schema)

    def write(self, examples: Sequence[Mapping[str, Any]]) -> None:
        columns = {
            name: [_parquet_value(data.get(name), kind) for data in examples] for name, kind in self._kinds.items()
        }
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _parquet_value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    return _json(value) if kind == "json" else float(value) if kind == "number" else value


class Fields:
    """The fields of examples, each with the one kind of value that it has, else `json`."""

    def __init__(self, order: Iterable[str] = ()) -> None:
        self._order = {name: position for position, name in enumerate(order)}
        self._kinds: dict[str, set[str]] = {}

    def add(self, data: Mapping[str, Any]) -> None:
        for name, value in data.items():
            kinds = self._kinds.setdefault(name, set())
            if value is not None:
                kinds.add(_kind_of(value))

    def names(self) -> list[str]:
        """Those that were named first in their order, the others by name: databases do not keep the order of keys."""
        return sorted(self._kinds, key=lambda name: (self._order.get(name, len(self._order)), name))

    def kinds(self) -> dict[str, str]:
        return {name: self._kind(self._kinds[name]) for name in self.names()}

    def _kind(self, found: set[str]) -> str:
        if found == {"integer", "number"}:
            return "number"
        return next(iter(found)) if len(found) == 1 else "json"


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "json"
