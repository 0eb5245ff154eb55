"""What the fields of a file are, from all of its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets.runtime.reading import cells


class Inference:
    """Collects what every record says of the fields; its memory grows with the number of fields only.

    A column of texts becomes numbers only if every one of its texts can be got back from its number: "007", "1e5" and
    numbers of more than 15 digits stay texts, and with them the column.
    """

    def __init__(self, *, is_text: bool, declared: Mapping[str, str]) -> None:
        self._fields: dict[str, _Column | _Values] = {}
        self._make = _Column if is_text else _Values
        self._declared = declared
        self._records = 0

    def add(self, data: Mapping[str, Any]) -> None:
        self._records += 1
        for name, value in data.items():
            found = self._fields.get(name)
            if found is None:
                found = self._fields[name] = self._make()
            found.add(value)

    def types(self) -> dict[str, str]:
        """Field -> type of its texts; declared types stand."""
        inferred = {name: found.type() for name, found in self._fields.items() if isinstance(found, _Column)}
        return {**inferred, **self._declared}

    def schema(self) -> dict[str, Any]:
        """A JSON Schema that every record fulfils."""
        return {
            "type": "object",
            "properties": {
                name: _schema_of(self._declared[name]) if name in self._declared else found.schema()
                for name, found in self._fields.items()
            },
            "required": [name for name, found in self._fields.items() if found.count == self._records],
        }


class _Column:
    """Texts of one column; empty ones are missing values."""

    def __init__(self) -> None:
        self.count = 0
        self._integers = self._fractions = self._booleans = self._no_numbers = 0
        self._are_written_shortest = True
        self._decimals: set[int] = set()

    def add(self, text: str) -> None:
        if not text:
            return
        self.count += 1
        if cells.is_exact_integer(text):
            self._integers += 1
        elif decimals := cells.decimals_of(text):
            self._fractions += 1
            self._decimals.add(decimals)
            self._are_written_shortest = self._are_written_shortest and repr(float(text)) == text
        elif cells.is_boolean(text):
            self._booleans += 1
        elif cells.is_no_number(text):
            self._no_numbers += 1

    def type(self) -> str:
        numbers = self._integers + self._fractions
        if self.count and self._booleans == self.count:
            return "boolean"
        # "nan" among numbers is a number that is none, to be refused; alone it may be a name
        if not numbers or numbers + self._no_numbers != self.count:
            return "string"
        if not self._fractions:
            return "integer"
        # 1.50 and 2.00 are numbers; 1.1 beside 1.10 are two names of the same number
        return "number" if self._are_written_shortest or len(self._decimals) == 1 else "string"

    def schema(self) -> dict[str, Any]:
        return _schema_of(self.type())


class _Values:
    """Values of one field that are typed already."""

    def __init__(self) -> None:
        self.count = 0
        self._types: set[str] = set()
        self._of_items: set[str] = set()

    def add(self, value: Any) -> None:
        self.count += 1
        self._types.add(_name_of(value))
        if isinstance(value, list):
            self._of_items.update(map(_name_of, value))

    def schema(self) -> dict[str, Any]:
        items = {"items": _types_schema(self._of_items)} if "array" in self._types and self._of_items else {}
        return {**_types_schema(self._types), **items}


def _schema_of(kind: str) -> dict[str, Any]:
    return {} if kind == "json" else {"type": kind}


def _types_schema(names: set[str]) -> dict[str, Any]:
    kept = sorted(names - {"integer"} if "number" in names else names)
    return {"type": kept[0] if len(kept) == 1 else kept}


def _name_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
