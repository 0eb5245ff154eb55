"""Percentiles from counts in exponential buckets; `UsageDay` says what a bucket holds.

A histogram is kept as a text of entries of one width, `+035:+0000000012` for 12 in bucket 35, with commas between them.
So both databases can add two of them up, and thousands are merged here at once, in about the same time whether they are
full or nearly empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

BUCKETS_PER_DOUBLING = 8
GROWTH = 2 ** (1 / BUCKETS_PER_DOUBLING)
RELATIVE_ERROR = (GROWTH - 1) / (GROWTH + 1)
"""Of a percentile at most: 4.4 %. The value told for a bucket is as far from its lower as from its upper end."""

BUCKET_DIGITS, COUNT_DIGITS = 3, 10
COUNT_AT = 1 + BUCKET_DIGITS + 1
"""Where the sign of the count stands in an entry."""

ENTRY = COUNT_AT + 1 + COUNT_DIGITS
_MINUS = ord("-")


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in milliseconds, and of how many."""

    count: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


def merged(histograms: Iterable[str]) -> dict[int, int]:
    """How many each bucket holds in all of the kept texts together."""
    text = ",".join(one for one in histograms if one)
    if not text:
        return {}
    entries = np.frombuffer(f"{text},".encode("ascii"), np.uint8).reshape(-1, ENTRY + 1)
    buckets = _numbers(entries[:, : 1 + BUCKET_DIGITS])
    counts = _numbers(entries[:, COUNT_AT:ENTRY])
    lowest = int(buckets.min())
    sums = np.bincount((buckets - lowest).astype(np.intp), weights=counts)
    return {lowest + int(index): int(sums[index]) for index in np.flatnonzero(sums)}


def latency_of(histogram: Mapping[int, int]) -> Latency | None:
    """By nearest rank, as if all had been sorted; None without any."""
    count = sum(histogram.values())
    if count <= 0:
        return None
    return Latency(count, *(_percentile(histogram, ceil(share * count / 100)) for share in (50, 90, 95, 99)))


def _numbers(columns: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Rows of a sign and digits as numbers; exact, since they are far below 2^53."""
    powers = 10.0 ** np.arange(columns.shape[1] - 2, -1, -1)
    values = (columns[:, 1:].astype(np.float64) - ord("0")) @ powers
    return np.where(columns[:, 0] == _MINUS, -values, values)


def _percentile(buckets: Mapping[int, int], rank: int) -> float:
    passed = 0
    for bucket in sorted(buckets):
        passed += buckets[bucket]
        if passed >= rank:
            return value_of(bucket)
    raise AssertionError("the rank is among the counted")


def value_of(bucket: int) -> float:
    """Milliseconds that stand for everything in a bucket."""
    return float(2 * GROWTH**bucket / (GROWTH + 1))
