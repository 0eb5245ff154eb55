"""The statistics of scores: a mean with its uncertainty, and a paired comparison.

Methods, and why:

- *Mean of 0/1 scores*: Wilson's interval. A bootstrap of scores that are all 1 has no width and claims certainty after
  three examples; Wilson's covers what it promises near 0 and 1 and for few examples too.
- *Mean of other scores, and differences of paired scores*: the BCa bootstrap (Efron 1987), which corrects for bias and
  skewness; seeded, so that the same scores always give the same interval.
- *p-value of paired 0/1 scores*: McNemar's test in its exact form, a binomial test of the wins among wins and losses.
- *p-value of other paired scores*: the sign-flip permutation test on the differences, complete for up to 2**12 flips,
  else 9,999 seeded random ones. Like McNemar's it is exact: of two of two wins it does not claim anything.

The distributions are those of scipy.special: scipy.stats has the tests ready, and would add a second to the start and
tens of megabytes to the memory of every process. The suite holds the figures to those of scipy.stats.

Memory is bounded whatever the number of scores: resampling goes in blocks of `BLOCK` numbers, and scores with few
different values are drawn as counts of those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtr, ndtri

Numbers = npt.NDArray[np.float64]

CONFIDENCE = 0.95
SEED = 0
RESAMPLES = 9_999
FEWEST_RESAMPLES = 1_999
DRAWS = 2 * 10**8
"""Numbers drawn for one interval at most, as far as `FEWEST_RESAMPLES` allow: about 2 s."""

BLOCK = 2 * 10**6
COMPLETE_FLIPS = 12


class Method(StrEnum):
    """How an interval came about; `none` of fewer than two scores."""

    NONE = "none"
    WILSON = "wilson"
    BOOTSTRAP = "bootstrap"


class Test(StrEnum):
    """How a p-value came about; `none` without a pair."""

    __test__ = False  # no test of pytest's

    NONE = "none"
    MCNEMAR = "mcnemar"
    SIGN_FLIP = "sign_flip"


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `n` scores and its interval; the mean is None of no scores, the interval of fewer than two."""

    n: int
    mean: float | None
    low: float | None
    high: float | None
    confidence: float
    method: Method


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two series of scores of the same examples: `difference` is the mean of new minus old, with its interval.

    `wins` counts the examples on which the new score is higher. Means and difference are None of no pairs, the interval
    of fewer than two.
    """

    n: int
    old_mean: float | None
    new_mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    p_value: float | None
    test: Test
    wins: int
    losses: int
    ties: int

    @property
    def is_better(self) -> bool:
        """Whether the new scores are higher at this confidence: interval above 0, and the exact test agrees.

        Both, since the bootstrap of a few equal differences has no width and would prove anything.
        """
        if self.low is None or self.p_value is None:
            return False
        return self.low > 0 and self.p_value < 1 - self.confidence


def mean_of(scores: Iterable[float], *, confidence: float = CONFIDENCE, seed: int = SEED) -> Mean:
    """The mean with its interval: Wilson's of 0/1 scores, else the BCa bootstrap's (see the module)."""
    values = _numbers(scores)
    if len(values) == 0:
        return Mean(0, None, None, None, confidence, Method.NONE)
    mean = _mean(values)
    if len(values) == 1:
        return Mean(1, mean, None, None, confidence, Method.NONE)
    if _is_binary(values):
        low, high = _wilson(mean, len(values), confidence)
        return Mean(len(values), mean, low, high, confidence, Method.WILSON)
    low, high = _bca(values, confidence, seed)
    return Mean(len(values), mean, low, high, confidence, Method.BOOTSTRAP)


def compare(
    old: Iterable[float], new: Iterable[float], *, confidence: float = CONFIDENCE, seed: int = SEED
) -> Comparison:
    """The paired comparison of scores of the same examples in the same order. Raises `ValueError` for other lengths."""
    before, after = _numbers(old), _numbers(new)
    if len(before) != len(after):
        raise ValueError("A paired comparison needs two scores of each example.")
    differences = after - before
    n = len(differences)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    low, high = (None, None) if n < 2 else _bca(differences, confidence, seed)
    p_value, test = _tested(before, after, differences, seed)
    return Comparison(
        n=n,
        old_mean=_mean(before) if n else None,
        new_mean=_mean(after) if n else None,
        difference=_mean(differences) if n else None,
        low=low,
        high=high,
        confidence=confidence,
        p_value=p_value,
        test=test,
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
    )


def _numbers(scores: Iterable[float]) -> Numbers:
    values = np.fromiter(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("Scores are finite numbers.")
    return values


def _mean(values: Numbers) -> float:
    return math.fsum(values) / len(values)


def _is_binary(values: Numbers) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _wilson(share: float, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927)."""
    z = float(ndtri((1 + confidence) / 2))
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return 0.0 if share == 0 else low, 1.0 if share == 1 else high


def _bca(values: Numbers, confidence: float, seed: int) -> tuple[float, float]:
    """The BCa interval of the mean; of equal values their value, twice."""
    centre = _mean(values)
    deviations = values - centre
    spread = float((deviations**2).sum())
    if values.min() == values.max() or spread == 0:
        return centre, centre
    means = _resampled_means(values, np.random.default_rng(seed))
    below = (int((means < centre).sum()) + int((means <= centre).sum())) / (2 * len(means))
    bias = float(ndtri(min(max(below, 0.5 / len(means)), 1 - 0.5 / len(means))))
    acceleration = float((deviations**3).sum()) / (6 * spread**1.5)
    shares = [_corrected(share, bias, acceleration) for share in ((1 - confidence) / 2, (1 + confidence) / 2)]
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def _corrected(share: float, bias: float, acceleration: float) -> float:
    """Which quantile of the resampled means stands for `share`."""
    moved = bias + float(ndtri(share))
    return float(ndtr(bias + moved / (1 - acceleration * moved)))


def _resampled_means(values: Numbers, random: np.random.Generator) -> Numbers:
    n = len(values)
    times = max(FEWEST_RESAMPLES, min(RESAMPLES, DRAWS // n))
    different, counts = np.unique(values, return_counts=True)
    if len(different) * 10 < n:  # a draw of counts costs about as much as ten draws of scores
        blocks = (random.multinomial(n, counts / n, size=size) @ different / n for size in _blocks(times, len(counts)))
    else:
        blocks = (values[random.integers(0, n, size=(size, n))].mean(axis=1) for size in _blocks(times, n))
    return np.concatenate(list(blocks))


def _blocks(times: int, width: int) -> Iterator[int]:
    """`times` rows of `width` numbers, cut into blocks of bounded memory."""
    size = max(BLOCK // width, 1)
    for begin in range(0, times, size):
        yield min(size, times - begin)


def _tested(before: Numbers, after: Numbers, differences: Numbers, seed: int) -> tuple[float | None, Test]:
    if len(differences) == 0:
        return None, Test.NONE
    unequal = differences[differences != 0]
    if _is_binary(before) and _is_binary(after):
        wins = int((unequal > 0).sum())
        return _mcnemar(wins, len(unequal)), Test.MCNEMAR
    if len(unequal) == 0:
        return 1.0, Test.SIGN_FLIP
    return _sign_flip(unequal, np.random.default_rng(seed)), Test.SIGN_FLIP


def _mcnemar(wins: int, n: int) -> float:
    """The exact two-sided test that `wins` of `n` unequal pairs are a toss of a fair coin."""
    return min(2 * float(bdtr(min(wins, n - wins), n, 0.5)), 1.0)


def _sign_flip(differences: Numbers, random: np.random.Generator) -> float:
    """Two-sided: how often a sum of the differences with random signs is as far from 0 as theirs."""
    sizes = np.abs(differences)
    enough = abs(math.fsum(differences)) - 1e-12 * math.fsum(sizes)  # sums of floats that should be equal differ
    if len(sizes) <= COMPLETE_FLIPS:
        bits = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        return float((np.abs((2 * bits - 1) @ sizes) >= enough).mean())
    sums = _flipped_sums(sizes, random)
    return (int((np.abs(sums) >= enough).sum()) + 1) / (len(sums) + 1)


def _flipped_sums(sizes: Numbers, random: np.random.Generator) -> Numbers:
    times = max(FEWEST_RESAMPLES, min(RESAMPLES, DRAWS // len(sizes)))
    different, counts = np.unique(sizes, return_counts=True)
    if len(different) * 10 < len(sizes):
        rows = (random.binomial(counts, 0.5, size=(size, len(counts))) for size in _blocks(times, len(counts)))
        return np.concatenate([(2 * positive - counts) @ different for positive in rows])
    signs = (random.integers(0, 2, size=(size, len(sizes)), dtype=np.int8) for size in _blocks(times, len(sizes)))
    return np.concatenate([2 * (positive @ sizes) - sizes.sum() for positive in signs])
