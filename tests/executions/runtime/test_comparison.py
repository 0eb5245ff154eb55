"""The statistics of scores, against SciPy, against known values, and in simulations of their coverage."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from executions.runtime.comparison import Comparison, Mean, Method, Test, compare, mean_of


def test_no_score_has_no_mean_and_one_has_no_interval() -> None:
    assert mean_of([]) == Mean(0, None, None, None, 0.95, Method.NONE)
    assert mean_of([0.25]) == Mean(1, 0.25, None, None, 0.95, Method.NONE)


def test_the_interval_of_right_and_wrong_is_wilsons() -> None:
    """Newcombe 1998, table I: 81 of 263 is 0.2553 to 0.3662; 0 of 20 is 0 to 0.1611; 20 of 20 mirrors it."""
    some = mean_of([1.0] * 81 + [0.0] * 182)
    assert some.method is Method.WILSON
    assert (some.low, some.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none, every = mean_of([0] * 20), mean_of([True] * 20)
    assert (none.mean, none.low, none.high) == pytest.approx((0, 0, 0.1611), abs=5e-5)
    assert (every.mean, every.low, every.high) == pytest.approx((1, 0.8389, 1), abs=5e-5)


@pytest.mark.parametrize(("right", "n"), [(0, 2), (1, 7), (30, 60), (399, 400), (51_234, 100_000)])
def test_wilson_and_mcnemar_are_those_of_scipy(right: int, n: int) -> None:
    theirs = stats.binomtest(right, n)
    scores = [1.0] * right + [0.0] * (n - right)
    ours = mean_of(scores)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.proportion_ci(method="wilson")), rel=1e-12, abs=1e-15)
    opposite = [1 - score for score in scores]
    assert compare(opposite, scores).p_value == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [12, 60, 400])
def test_the_bootstrap_is_the_one_of_scipy(n: int) -> None:
    values = np.random.default_rng(n).beta(1, 4, n)
    ours = mean_of(values.tolist())
    theirs = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=9_999, rng=np.random.default_rng(7)
    ).confidence_interval
    assert ours.method is Method.BOOTSTRAP
    assert (ours.low, ours.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.02 * (theirs.high - theirs.low) + 1e-3
    )


def test_the_same_scores_give_the_same_interval_and_another_seed_a_similar_one() -> None:
    scores = np.random.default_rng(5).random(80).tolist()
    assert mean_of(scores) == mean_of(scores)
    assert mean_of(scores) != mean_of(scores, seed=1)
    assert mean_of(scores).low == pytest.approx(mean_of(scores, seed=1).low, abs=0.005)


def test_equal_scores_have_an_interval_without_width() -> None:
    assert mean_of([0.3] * 7) == Mean(7, 0.3, 0.3, 0.3, 0.95, Method.BOOTSTRAP)


def test_drawing_counts_gives_what_drawing_scores_gives() -> None:
    """Few different values are drawn as counts: the same interval as SciPy's, which draws scores."""
    values = np.repeat([0.0, 0.5, 1.0], [50, 30, 120])
    ours = mean_of(values)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(3)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


@pytest.mark.parametrize("broken", [[float("nan")], [float("inf"), 0.0]])
def test_what_is_no_number_is_refused(broken: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_of(broken)
    with pytest.raises(ValueError, match="finite"):
        compare(broken, broken)


def test_pairs_are_counted_and_tested_exactly_by_mcnemar() -> None:
    """Ten wins against two losses: p is the binomial one, 2 * P(X <= 2 | 12, 1/2) = 158 / 4096."""
    old = [0.0] * 10 + [1.0] * 2 + [1.0] * 8 + [0.0] * 5
    new = [1.0] * 10 + [0.0] * 2 + [1.0] * 8 + [0.0] * 5
    result = compare(old, new)
    assert (result.n, result.wins, result.losses, result.ties) == (25, 10, 2, 13)
    assert (result.old_mean, result.new_mean, result.difference) == pytest.approx((10 / 25, 18 / 25, 8 / 25))
    assert result.test is Test.MCNEMAR
    assert result.p_value == pytest.approx(158 / 4096)
    assert result.low is not None
    assert 0 < result.low < 8 / 25
    assert result.is_better


def test_few_differences_are_flipped_completely() -> None:
    """Of the 2**5 signs of five gains only two sums are as far from 0: p = 2 / 32, whatever the bootstrap says."""
    result = compare([0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.4, 0.6, 0.8, 0.9])
    assert (result.test, result.p_value) == (Test.SIGN_FLIP, 2 / 32)
    assert result.low is not None
    assert result.low > 0
    assert not result.is_better


def test_many_differences_are_flipped_as_scipy_flips_them() -> None:
    random = np.random.default_rng(11)
    old = random.random(60)
    new = np.clip(old + random.normal(0.03, 0.12, 60), 0, 1)
    theirs = stats.permutation_test(
        (new - old,), np.mean, permutation_type="samples", n_resamples=9_999, rng=np.random.default_rng(4)
    ).pvalue
    assert compare(old, new).p_value == pytest.approx(theirs, abs=0.015)


def test_degenerate_comparisons() -> None:
    nothing = compare([], [])
    assert nothing == Comparison(0, None, None, None, None, None, 0.95, None, Test.NONE, 0, 0, 0)
    assert not nothing.is_better
    one = compare([0.0], [1.0])
    assert (one.difference, one.low, one.high, one.p_value, one.wins, one.is_better) == (1, None, None, 1.0, 1, False)
    for score in (1.0, 0.5):
        ties = compare([score] * 9, [score] * 9)
        assert (ties.difference, ties.low, ties.high, ties.p_value) == (0, 0, 0, 1.0)
        assert (ties.wins, ties.losses, ties.ties, ties.is_better) == (0, 0, 9, False)


def test_worse_is_not_better() -> None:
    result = compare([1.0] * 30, [0.0] * 30)
    assert (result.difference, result.losses, result.is_better) == (-1, 30, False)
    assert result.p_value == pytest.approx(2 / 2**30)


def test_pairs_need_partners() -> None:
    with pytest.raises(ValueError, match="two scores of each"):
        compare([1.0], [1.0, 0.0])


@pytest.mark.parametrize(("rate", "n"), [(0.8, 30), (0.95, 40), (0.5, 200)])
def test_wilson_covers_what_it_promises(rate: float, n: int) -> None:
    random = np.random.default_rng(17)
    covered = 0
    for _round in range(1_000):
        interval = mean_of(random.random(n) < rate)
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= rate <= interval.high
    assert 0.93 <= covered / 1_000 <= 0.98


def test_the_bootstrap_covers_nearly_what_it_promises() -> None:
    """Beta(2, 5) has the mean 2/7; at 60 scores the BCa interval covers it in about 94 of 100 cases."""
    random = np.random.default_rng(23)
    covered = 0
    for _round in range(300):
        interval = mean_of(random.beta(2, 5, 60))
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 2 / 7 <= interval.high
    assert 0.91 <= covered / 300 <= 0.98


def test_no_difference_is_seldom_called_better() -> None:
    """Two equally good programs: at 95 % at most 2.5 of 100 comparisons may say that the new one is better."""
    random = np.random.default_rng(29)
    better = sum(compare(random.random(50) < 0.7, random.random(50) < 0.7).is_better for _round in range(400))
    assert better <= 400 * 0.025 + 6


@pytest.mark.parametrize("is_binary", [True, False])
def test_a_hundred_thousand_scores_fit_into_bounded_memory(is_binary: bool) -> None:
    random = np.random.default_rng(31)
    old, new = random.random((2, 100_000))
    if is_binary:
        old, new = (old < 0.70).astype(float), (new < 0.72).astype(float)
    tracemalloc.start()
    result = compare(old, new)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.low is not None
    assert result.n == 100_000
    assert peak < 100_000_000
