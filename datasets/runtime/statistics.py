"""What a dataset looks like, found in one pass over its examples with a few bytes per value.

A field keeps its numbers and the lengths of its texts as plain arrays, a hash of each value instead of the value, and
counts values only as long as there are few of them: 100,000 examples of ten fields take about 30 MB.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_FIELDS = 64
"""Fields that are described; of further ones only the names are told."""

MAX_LABELS = 1_000
"""Different values up to which a field may be one of labels."""

MAX_LABEL = 200
"""Characters of a value that may be a label."""

SHOWN_LABELS = 50
BINS = 12
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_QUANTILE_NAMES = ("p5", "p25", "median", "p75", "p95")

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),  # before the integers, of which it is one in Python
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "list"),
    (dict, "object"),
)


def kind_of(value: Any) -> str:
    """The JSON type of a value, whole numbers told apart from others."""
    return next((kind for type_, kind in _KINDS if isinstance(value, type_)), "null")


class Statistics:
    """Takes the examples one by one; `as_json` says what they were like."""

    def __init__(self) -> None:
        self._size = 0
        self._contents: set[int] = set()
        self._fields: dict[str, _Field] = {}
        self._others: set[str] = set()

    def add(self, data: Mapping[str, Any], content_hash: str) -> None:
        """One more example; `content_hash` tells duplicates."""
        self._size += 1
        self._contents.add(int(content_hash[:16], 16))
        for name, value in data.items():
            if field := self._field(name):
                field.add(value)

    def as_json(self) -> dict[str, Any]:
        """`size`, `duplicates` (examples that repeat an earlier one) and `fields`; numbers are finite."""
        described: dict[str, Any] = {
            "size": self._size,
            "duplicates": self._size - len(self._contents),
            "fields": {name: field.as_json(self._size) for name, field in sorted(self._fields.items())},
        }
        return described | ({"further_fields": sorted(self._others)} if self._others else {})

    def _field(self, name: str) -> _Field | None:
        found = self._fields.get(name)
        if found is None and len(self._fields) < MAX_FIELDS:
            found = self._fields[name] = _Field()
        if found is None and len(self._others) < MAX_FIELDS:
            self._others.add(name)
        return found


class _Field:
    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._hashes = array("q")
        self._lengths = array("L")
        self._numbers = array("d")
        self._labels: Counter[Any] | None = Counter()

    def add(self, value: Any) -> None:
        kind = kind_of(value)
        self._types[kind] += 1
        if kind == "null":
            return
        self._hashes.append(_hash(kind, value))
        if kind == "string":
            self._lengths.append(len(value))
        elif kind in ("integer", "number"):
            self._numbers.append(_as_float(value))
        self._count(kind, value)

    def as_json(self, size: int) -> dict[str, Any]:
        count = len(self._hashes)
        distinct = len(np.unique(np.frombuffer(self._hashes, dtype=np.int64))) if count else 0
        described: dict[str, Any] = {
            "types": dict(sorted(self._types.items())),
            "count": count,
            "missing": size - count,
            "distinct": distinct,
        }
        if self._lengths:
            described["lengths"] = _distribution(np.array(self._lengths, dtype=np.float64))
        if self._numbers:
            described["numbers"] = _distribution(np.array(self._numbers, dtype=np.float64))
        return described | self._labels_as_json(count, distinct)

    def _count(self, kind: str, value: Any) -> None:
        if self._labels is None:
            return
        if kind in ("list", "object") or (kind == "string" and len(value) > MAX_LABEL):
            self._labels = None
            return
        self._labels[kind, value] += 1
        if len(self._labels) > MAX_LABELS:
            self._labels = None

    def _labels_as_json(self, count: int, distinct: int) -> dict[str, Any]:
        """Values that repeat are labels: at most half as many as there are examples."""
        if not self._labels or distinct > max(count // 2, 1):
            return {}
        ranked = sorted(self._labels.items(), key=lambda item: (-item[1], str(item[0][1])))
        rows = [{"value": value, "count": times, "share": times / count} for (_kind, value), times in ranked]
        return {
            "labels": rows[:SHOWN_LABELS],
            "further_labels": max(len(rows) - SHOWN_LABELS, 0),
            "majority": rows[0],
        }


def _hash(kind: str, value: Any) -> int:
    return hash((kind, json.dumps(value, sort_keys=True) if kind in ("list", "object") else value))


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return sys.float_info.max if value > 0 else -sys.float_info.max


def _distribution(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        figures = {
            "min": values.min(),
            "max": values.max(),
            "mean": values.mean(),
            "std": values.std(),
            **dict(zip(_QUANTILE_NAMES, np.quantile(values, QUANTILES), strict=True)),
        }
    return {name: _finite(value) for name, value in figures.items()} | {"histogram": _histogram(values)}


def _histogram(values: npt.NDArray[np.float64]) -> dict[str, list[Any]] | None:
    """Counts between edges of equal distance; the last bin has its upper edge too."""
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low):
        return None
    bins = 1 if low == high else BINS
    if (values == np.floor(values)).all():
        bins = int(min(bins, high - low + 1))  # not more bins than whole numbers
    if (np.diff(np.linspace(low, high, bins + 1)) <= 0).any():
        bins = 1  # floats are not dense enough here for more
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    return {"counts": counts.tolist(), "edges": edges.tolist()}


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
