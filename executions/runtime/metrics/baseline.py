"""What a program would score that always says the same: what every score is to be held against."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from executions.runtime.metrics.base import Scorer
from executions.runtime.metrics.failures import MetricFailed

Values: TypeAlias = Mapping[str, Any]

MOST = 10
"""How many of the commonest answers are tried: how often they are expected does not tell which of them scores best."""

COMPARISONS = 20_000
"""Of many different expectations fewer answers are tried, so that it takes seconds, as scoring them once does."""

KEPT = 4096
"""Different expectations whose scores are kept: of labels there are few."""


def majority_baseline(scorer: Scorer, examples: Callable[[], Iterable[Values]]) -> float | None:
    """The mean score on `examples`, by `scorer` itself, of always giving one of the commonest expected answers: the one
    that does best. None of no examples, and where the metric has no answers that a program could always give.

    `examples` tells them anew each time that it is called, since neither they nor what they expect is kept.
    """
    n, counted = 0, Counter[bytes]()
    for expectation in _expectations(scorer, examples()):
        n += 1
        counted.update(map(_digest, scorer.answers(expectation)))
    if not counted:
        return None
    tried = _answers(scorer, examples(), _commonest(counted, max(min(MOST, COMPARISONS // len(counted)), 1)))

    totals, known = [0.0] * len(tried), dict[bytes, list[float]]()
    for expectation in _expectations(scorer, examples()):
        digest = _digest(expectation)
        scores = known.get(digest) or [_score(scorer, expectation, answer) for answer in tried]
        if len(known) < KEPT:
            known[digest] = scores
        totals = [total + score for total, score in zip(totals, scores, strict=True)]
    return max(totals) / n


def _expectations(scorer: Scorer, examples: Iterable[Values]) -> Iterator[Values]:
    for example in examples:
        with suppress(MetricFailed):
            expectation = scorer.expectation(example)
            if expectation is None:
                return
            yield expectation


def _commonest(counted: Counter[bytes], most: int) -> set[bytes]:
    """Of equally common ones always the same."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return {digest for digest, _count in ordered[:most]}


def _answers(scorer: Scorer, examples: Iterable[Values], wanted: Collection[bytes]) -> list[Values]:
    """The answers with these digests."""
    found: dict[bytes, Values] = {}
    for expectation in _expectations(scorer, examples):
        for answer in scorer.answers(expectation):
            if (digest := _digest(answer)) in wanted:
                found.setdefault(digest, answer)
        if len(found) == len(wanted):
            break
    return list(found.values())


def _score(scorer: Scorer, expectation: Values, answer: Values) -> float:
    try:
        return scorer.score(expectation, answer).value
    except MetricFailed:
        return 0.0  # what cannot be scored here earns nothing


def _digest(values: Values) -> bytes:
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16).digest()
