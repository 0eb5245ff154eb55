"""The one place that decides which JSON and text may be stored.

PostgreSQL refuses what SQLite keeps: NUL in text and JSON, lone surrogates, NaN and infinities; and Python neither
writes nor reads integers of more than 4,300 digits. In what people send they are refused with the path of the field
(`refuse_unstorable`); in what a model answered they are replaced and the value is flagged (`replace_unstorable`), so
that nothing that was paid for is lost. Secrets that come back in an answer are taken out of it (`hide`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

import orjson

from mlops.errors import Invalid, Problem

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
HIDDEN = "[hidden]"
MAX_DEPTH = 32
MAX_INTEGER_BITS = 14_284
"""The longest integer that Python writes and reads as text: 4,300 digits."""


def problem_in(value: Any, path: str = "", depth: int = 0) -> Problem | None:
    """The first reason why `value` cannot be stored, or None. `path` names the value in the caller's words."""
    if isinstance(value, str):
        return _problem_in_text(value, path)
    if isinstance(value, int | float):
        return _problem_in_number(value, path)
    if isinstance(value, dict | list | tuple):
        return _problem_in_members(value, path, depth)
    return None


def is_too_large(value: int) -> bool:
    """Whether nobody could read it again."""
    return value.bit_length() > MAX_INTEGER_BITS


def _problem_in_number(number: float, path: str) -> Problem | None:
    if isinstance(number, int):
        return Problem("number_too_large", "At most 4,300 digits.", path) if is_too_large(number) else None
    return None if math.isfinite(number) else Problem("not_a_number", "NaN and infinities are not allowed.", path)


def _problem_in_text(text: str, path: str) -> Problem | None:
    found = _UNSTORABLE.search(text)
    if found is None:
        return None
    what = "a NUL character" if found.group() == "\x00" else "a lone surrogate"
    return Problem("unstorable_text", f"Contains {what} at position {found.start()}.", path)


def _problem_in_members(value: Any, path: str, depth: int) -> Problem | None:
    if depth >= MAX_DEPTH:
        return Problem("too_deep", f"Nested deeper than {MAX_DEPTH} levels.", path)
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        inner = f"{path}.{key}" if path else str(key)
        in_key = _problem_in_text(key, path) if isinstance(key, str) else None
        if problem := in_key or problem_in(item, inner, depth + 1):
            return problem
    return None


def refuse_unstorable(value: Any, path: str = "") -> None:
    """Raise `Invalid` for input that no database keeps (code `unstorable_text`, `not_a_number`, `number_too_large` or
    `too_deep`)."""
    if problem := problem_in(value, path):
        raise Invalid(problem.code, problem.message, field=problem.field)


def is_plain_storable(value: Any) -> bool:
    """A quick yes for JSON that surely can be stored; what is doubtful is no. Numbers that are none count as null."""
    try:
        return b"\\u0000" not in orjson.dumps(value)
    except TypeError:
        return False


def replace_unstorable(value: Any) -> tuple[Any, bool]:
    """`value` with everything unstorable replaced, and whether anything was."""
    if problem_in(value) is None:
        return value, False
    return _cleaned(value, 0), True


def hide(value: Any, secrets: Collection[str]) -> Any:
    """`value` with every one of `secrets` in its texts replaced by `HIDDEN`."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {hide(key, secrets): hide(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide(item, secrets) for item in value]
    return value


def _cleaned(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, int | float) and _problem_in_number(value, ""):
        return None
    if isinstance(value, dict | list | tuple) and depth >= MAX_DEPTH:
        return "..."
    if isinstance(value, dict):
        return {_cleaned(str(key), depth): _cleaned(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, depth + 1) for item in value]
    return value
