"""Texts of cells as values: what a text can be without losing anything, and what it is under a declared type."""

from __future__ import annotations

import json
import math
import re
from typing import Any

TYPES = ("string", "integer", "number", "boolean", "array", "object", "json")
"""What a field may be declared to be; `json` is any value."""

EXACT_INTEGER = 2**53
"""Beyond it JSON readers of other languages lose digits, so that longer numbers are taken for names."""

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FRACTION = re.compile(r"-?(0|[1-9][0-9]*)\.([0-9]+)")
_NO_NUMBER = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}
_DECLARED_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")


class WrongType(Exception):
    """The text is no value of the type. `code` says what it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_exact_integer(text: str) -> bool:
    """Whether `text` is how the integer that it denotes is written."""
    return _INTEGER.fullmatch(text) is not None and text != "-0" and abs(int(text[:32])) <= EXACT_INTEGER


def decimals_of(text: str) -> int:
    """How many digits follow the point of a fraction; 0 where `text` is none."""
    match = _FRACTION.fullmatch(text)
    return len(match.group(2)) if match and len(text) <= 17 else 0


def is_no_number(text: str) -> bool:
    """NaN or an infinity, as spreadsheets and numeric libraries write them."""
    return _NO_NUMBER.fullmatch(text) is not None


def is_boolean(text: str) -> bool:
    return text.lower() in _BOOLEANS


def value_of(text: str, kind: str) -> Any:
    """`text` as a value of the type `kind`. Raises `WrongType`."""
    if kind == "string":
        return text
    stripped = text.strip()
    if kind == "integer":
        return _integer(stripped)
    if kind == "number":
        return _number(stripped)
    if kind == "boolean":
        return _boolean(stripped)
    return _json(stripped, kind)


def _integer(text: str) -> int:
    if not _DECLARED_INTEGER.fullmatch(text):
        raise _not_a_number(text, "integer")
    return int(text)


def _number(text: str) -> int | float:
    if _DECLARED_INTEGER.fullmatch(text):
        return int(text)
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        raise WrongType("type_wrong", "Not a number.") from None
    if not math.isfinite(value):
        raise _not_a_number(text, "number")
    return value


def _not_a_number(text: str, kind: str) -> WrongType:
    if is_no_number(text):
        return WrongType("not_a_number", "NaN and infinities are not allowed.")
    return WrongType("type_wrong", f"Not {'an' if kind == 'integer' else 'a'} {kind}.")


def _boolean(text: str) -> bool:
    value = {**_BOOLEANS, "1": True, "0": False}.get(text.lower())
    if value is None:
        raise WrongType("type_wrong", "Neither true nor false.")
    return value


def _json(text: str, kind: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise WrongType("type_wrong", "Not JSON.") from None
    if kind == "json" or type(value) is {"array": list, "object": dict}[kind]:
        return value
    raise WrongType("type_wrong", f"Not an {kind}.")


def is_of(value: Any, kind: str) -> bool:
    """Whether a value that is typed already is of the declared type."""
    if kind == "json":
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    expected: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "array": list,
        "object": dict,
    }
    return kind in expected and isinstance(value, expected[kind])
