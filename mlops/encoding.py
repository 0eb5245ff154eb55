"""The one encoder of JSON that is stored, answered or digested without Django's help: quick, and total.

It is orjson, which also knows UUIDs and times and writes numbers that are none as null. Where orjson stops, at integers
beyond 64 bits and at text that is not Unicode, this goes on: JSON, Python and both databases know integers of any size,
and what a model answered must not be lost for its spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mlops.sanitiser import REPLACEMENT, is_too_large

_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")


def encoded(value: Any, *, is_sorted: bool = False, default: Callable[[Any], Any] | None = None) -> bytes:
    """`value` as JSON in UTF-8; keys that are no texts become texts.

    Integers keep all of their digits, lone surrogates are replaced. `default` makes something of what is no JSON;
    without it that raises `TypeError`.
    """
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_SORT_KEYS if is_sorted else 0)
    try:
        return orjson.dumps(value, default, option)
    except TypeError:
        return orjson.dumps(_spelled(value), default, option)


def _spelled(value: Any) -> Any:
    """`value` in words that orjson knows."""
    if isinstance(value, str):
        return _SURROGATE.sub(REPLACEMENT, value)
    if isinstance(value, int) and not _LOWEST <= value <= _HIGHEST:
        return None if is_too_large(value) else orjson.Fragment(str(value))
    if isinstance(value, Mapping):
        return {_spelled_key(key): _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return value


def _spelled_key(key: Any) -> Any:
    if isinstance(key, str):
        return _SURROGATE.sub(REPLACEMENT, key)
    return str(key) if isinstance(key, int) and not _LOWEST <= key <= _HIGHEST else key
