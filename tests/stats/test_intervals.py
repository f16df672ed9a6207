"""Intervals against scipy, closed forms and planted truths."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from mechscope.core import UsageError
from mechscope.stats import mean_interval, quantile_interval, share_difference, share_interval, wilson


def test_wilson_equals_scipy() -> None:
    for k, n in ((0, 10), (3, 10), (10, 10), (1, 1), (500, 100_000)):
        low, high = wilson(k, n)
        expected = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
        assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert tuple(map(float, wilson(0, 0))) == (0.0, 1.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_shares_lie_in_their_intervals(counts: tuple[int, int], level: float) -> None:
    k, n = counts
    found = share_interval(k, n, level=level)
    mirrored = share_interval(n - k, n, level=level)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-12)
    expected = scipy.stats.binomtest(k, n).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rare_shares_are_covered_exactly_summed() -> None:
    # coverage summed over the binomial, no simulation: p = 0.98 with n = 100, where percentile ends cover 86 %
    k = np.arange(101)
    low, high = wilson(k, np.full(101, 100))
    assert scipy.stats.binom.pmf(k, 100, 0.98)[(low < 0.98) & (high > 0.98)].sum() >= 0.93


def test_newcombe_gives_the_published_examples() -> None:
    # Newcombe 1998, table II, method 10: 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/20
    for counts, low, high in (
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((10, 10, 0, 20), 0.6791, 1.0),
    ):
        found = share_difference(*counts)
        assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)
        assert found.n == counts[1] + counts[3]


def test_differences_of_shares_are_covered_exactly_summed() -> None:
    n, m, p, q = 30, 40, 0.9, 0.7
    covered = 0.0
    first, second = scipy.stats.binom.pmf(np.arange(n + 1), n, p), scipy.stats.binom.pmf(np.arange(m + 1), m, q)
    for k in range(n + 1):
        for j in range(m + 1):
            found = share_difference(k, n, j, m)
            covered += first[k] * second[j] * (found.low < p - q < found.high)
    assert 0.93 <= covered <= 0.975


def test_mean_interval_is_students_and_clusters_that_repeat_add_nothing() -> None:
    values = np.random.default_rng(0).normal(size=20)
    found = mean_interval(values, level=0.9)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    repeated = mean_interval(np.repeat(values, 7), clusters=np.repeat(np.arange(20), 7), level=0.9)
    assert (repeated.low, repeated.high) == pytest.approx((expected.low, expected.high))
    named = mean_interval(np.repeat(values, 7), clusters=np.repeat([f"row {i}" for i in range(20)], 7), level=0.9)
    assert (named.low, named.high, named.n_clusters) == pytest.approx((repeated.low, repeated.high, 20))


def test_weights_count_as_copies_of_clusters() -> None:
    values, weights = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    copies = np.repeat(np.arange(3), weights.astype(int))
    weighted = mean_interval(values, weights=weights)
    copied = mean_interval(values[copies], clusters=copies)
    assert (weighted.value, weighted.low, weighted.high) == pytest.approx((copied.value, copied.low, copied.high))
    without = mean_interval(np.append(values, 99), weights=np.append(weights, 0))
    assert (without.low, without.high, without.n) == pytest.approx((weighted.low, weighted.high, 3))


def test_quantile_ends_are_order_statistics_that_cover_exactly() -> None:
    # the interval of the median of 1..10 is [2, 9], with probability 1 - 22 / 1024 (Conover)
    found = quantile_interval(np.arange(1.0, 11), 0.5)
    assert (found.value, found.low, found.high) == (5.5, 2.0, 9.0)
    for n, q in ((10, 0.5), (25, 0.9), (200, 0.02)):
        found = quantile_interval(np.arange(1.0, n + 1), q)
        below = scipy.stats.binom.cdf(found.low - 1, n, q) if np.isfinite(found.low) else 0
        above = scipy.stats.binom.sf(found.high - 1, n, q) if np.isfinite(found.high) else 0
        assert below <= 0.025
        assert above <= 0.025
        if np.isfinite(found.low):  # the next order statistic inwards would miss too often
            assert scipy.stats.binom.cdf(found.low, n, q) > 0.025
        if np.isfinite(found.high):
            assert scipy.stats.binom.sf(found.high - 2, n, q) > 0.025
    assert quantile_interval(np.arange(25.0), 0.9).high == np.inf


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_shares_are_refused(k: int, n: int) -> None:
    with pytest.raises(UsageError, match=f"{k} of {n}"):
        share_interval(k, n)
    with pytest.raises(UsageError, match=f"{k} of {n}"):
        share_difference(1, 2, k, n)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="quantile 50"):
        quantile_interval(np.arange(4.0), 50)
    with pytest.raises(UsageError, match="1 of 3 values"):
        mean_interval(np.array([1.0, np.nan, 2]))
    with pytest.raises(UsageError, match="1 values"):
        quantile_interval(np.ones(1), 0.5)
    with pytest.raises(UsageError, match="level 0"):
        share_interval(1, 2, level=0)
