"""Percentiles from counts in exponential buckets; `UsageDay` says what a bucket holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

BUCKETS_PER_DOUBLING = 8
GROWTH = 2 ** (1 / BUCKETS_PER_DOUBLING)
RELATIVE_ERROR = (GROWTH - 1) / (GROWTH + 1)
"""Of a percentile at most: 4.4 %. The value told for a bucket is as far from its lower as from its upper end."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in milliseconds, and of how many."""

    count: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


def latency_of(histogram: Mapping[str, int]) -> Latency | None:
    """By nearest rank, as if all had been sorted; None without any. The keys are those of JSON."""
    buckets = {int(bucket): count for bucket, count in histogram.items()}
    count = sum(buckets.values())
    if count <= 0:
        return None
    return Latency(count, *(_percentile(buckets, ceil(share * count / 100)) for share in (50, 90, 95, 99)))


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
