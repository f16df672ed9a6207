"""Effect sizes against closed forms, pairs, inverted noncentral t and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import UsageError
from mechscope.stats import auroc, cliffs_delta, cohens_d, hedges_g, measure_area, paired_dz, point_biserial

numbers = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=25)


def two_groups(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(0.6, 1, 23), generator.normal(0, 1.5, 31)


def test_cohens_d_is_the_mean_difference_in_pooled_deviations() -> None:
    first, second = two_groups()
    pooled = math.sqrt((22 * first.var(ddof=1) + 30 * second.var(ddof=1)) / 52)
    found = cohens_d(first, second)
    assert found.value == pytest.approx((first.mean() - second.mean()) / pooled)
    assert found.value == pytest.approx(scipy.stats.ttest_ind(first, second).statistic * math.sqrt(1 / 23 + 1 / 31))
    assert found.n == 54


def test_ends_put_the_statistic_at_the_tails() -> None:
    first, second = two_groups()
    for effect, t, v, scale in (
        (cohens_d(first, second), scipy.stats.ttest_ind(first, second).statistic, 52, math.sqrt(1 / 23 + 1 / 31)),
        (paired_dz(first), scipy.stats.ttest_1samp(first, 0).statistic, 22, 1 / math.sqrt(23)),
    ):
        assert scipy.stats.nct.sf(t, v, effect.low / scale) == pytest.approx(0.025, abs=1e-7)
        assert scipy.stats.nct.cdf(t, v, effect.high / scale) == pytest.approx(0.025, abs=1e-7)


def test_hedges_g_shrinks_by_the_gamma_ratio() -> None:
    first, second = np.array([1.0, 2, 4]), np.array([0.0, 0.5])
    d, g = cohens_d(first, second), hedges_g(first, second)
    # J(3) = Gamma(3/2) / (sqrt(3/2) Gamma(1)) = sqrt(pi / 6)
    assert g.value / d.value == pytest.approx(math.sqrt(math.pi / 6))
    assert g.high / d.high == pytest.approx(math.sqrt(math.pi / 6))


def test_hedges_g_is_unbiased_where_cohens_d_is_not() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(1, 1, (4000, 5)), generator.normal(0, 1, (4000, 5))
    d = (first.mean(1) - second.mean(1)) / np.sqrt((first.var(1, ddof=1) + second.var(1, ddof=1)) / 2)
    ratio = hedges_g(first[0], second[0]).value / cohens_d(first[0], second[0]).value
    error = 3 * d.std() / math.sqrt(4000)
    assert d.mean() - 1 > error
    assert abs(ratio * d.mean() - 1) < error


def test_d_and_dz_cover_the_truth() -> None:
    generator = np.random.default_rng(2)
    covered = np.zeros(2)
    for _ in range(200):
        d = cohens_d(generator.normal(0.8, 1, 8), generator.normal(0, 1, 12))
        z = paired_dz(generator.normal(0.5, 1, 9))
        covered += [d.low < 0.8 < d.high, z.low < 0.5 < z.high]
    assert (covered >= 200 * (0.95 - 0.046)).all()  # three standard errors
    assert (covered <= 200 * (0.95 + 0.046)).all()


@pytest.mark.parametrize("shift", [0.0, 0.05, 1.0, 30.0])
def test_large_samples_pass_from_the_exact_ends_to_the_formula(shift: float) -> None:
    generator = np.random.default_rng(3)
    sizes = 1001, 1003
    ends = []
    for n in sizes:
        column = generator.normal(size=n)
        column = (column - column.mean()) / column.std(ddof=1) + shift
        ends.append(paired_dz(column))
    assert (ends[0].low, ends[0].high) == pytest.approx((ends[1].low, ends[1].high), rel=2e-3, abs=2e-4)
    many = paired_dz(np.tile(column, 100))
    assert many.low < many.value < many.high


@pytest.mark.parametrize("v", [1, 4, 30, 100, 400, 999, 1500])
def test_ends_are_found_for_effects_of_any_size(v: int) -> None:
    column = np.random.default_rng(v).normal(size=v + 1)
    column = (column - column.mean()) / column.std(ddof=1)
    for t in (0.0, 1e-3, 0.5, 3.0, 12.0, 30.0, 70.0, 999.9, 1000.1, 1e4, 1e6):
        found, mirrored = (paired_dz(column + sign * t / math.sqrt(v + 1)) for sign in (1, -1))
        assert found.low < found.value < found.high
        assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), rel=1e-6, abs=1e-6)
    below, above = (paired_dz(column + t / math.sqrt(v + 1)) for t in (999.99, 1000.01))
    assert (below.low, below.high) == pytest.approx((above.low, above.high), rel=2e-4)


def test_point_biserial_is_pearsons_r() -> None:
    first, second = two_groups()
    values, labels = np.concatenate([first, second]), np.arange(54) < 23
    found = point_biserial(values, labels)
    expected = scipy.stats.pearsonr(values, labels.astype(float))
    assert found.value == pytest.approx(expected.statistic)
    ends = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.03)  # Fisher's z is another method


@given(numbers, numbers)
def test_cliffs_delta_and_auroc_equal_the_pairs(first: list[float], second: list[float]) -> None:
    signs = [np.sign(a - b) for a in first for b in second]
    found = cliffs_delta(np.array(first), np.array(second))
    assert found.value == pytest.approx(np.mean(signs), abs=1e-12)
    assert -1 <= found.low <= found.value <= found.high <= 1
    back = cliffs_delta(np.array(second), np.array(first))
    assert (back.low, back.value, back.high) == pytest.approx((-found.high, -found.value, -found.low), abs=1e-9)


def test_auroc_is_the_area_with_its_interval_at_any_level() -> None:
    generator = np.random.default_rng(4)
    labels = generator.random(90) < 0.4
    scores, clusters = generator.normal(size=90) + labels, np.array(["a", "b", "c"] * 30)
    found, area = auroc(scores, labels), measure_area(scores, labels)
    assert (found.value, found.low, found.high) == (area.value, area.low, area.high)
    half = auroc(scores, labels, level=0.5)
    assert found.low < half.low < half.value < half.high < found.high
    clustered = auroc(scores, labels, clusters=clusters)
    assert (clustered.n, clustered.n_clusters, clustered.has_few_clusters) == (90, 3, True)
    ninety = auroc(np.arange(8.0), np.arange(8) > 3, level=0.9)
    assert (ninety.low, ninety.high) == pytest.approx((0.05**0.25, 1))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 100), st.floats(-10, 10), st.integers(0, 5))
def test_effects_have_no_unit(scale: float, shift: float, seed: int) -> None:
    first, second = two_groups(seed)
    for effect in (cohens_d, hedges_g, cliffs_delta):
        plain, moved = effect(first, second), effect(first * scale + shift, second * scale + shift)
        assert (moved.low, moved.value, moved.high) == pytest.approx((plain.low, plain.value, plain.high), rel=1e-6)
    plain, moved = paired_dz(first), paired_dz(first * scale)
    assert (moved.low, moved.value, moved.high) == pytest.approx((plain.low, plain.value, plain.high), rel=1e-6)


def test_no_spread_is_undefined_and_says_so() -> None:
    ones = np.full(5, 0.1)
    for effect in (cohens_d(ones, ones + 1), hedges_g(ones, ones), paired_dz(ones)):
        assert math.isnan(effect.value)
        assert effect.method == "undefined: no spread"
        assert not effect.excludes_zero


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="1 first"):
        cohens_d(np.ones(1), np.arange(3.0))
    with pytest.raises(UsageError, match="1 of 2 differences"):
        paired_dz(np.array([np.nan, 1]))
    with pytest.raises(UsageError, match="1 samples with the label and 3 without"):
        point_biserial(np.arange(4.0), np.arange(4) == 0)
    with pytest.raises(UsageError, match="0 second"):
        cliffs_delta(np.ones(1), np.ones(0))
    with pytest.raises(UsageError, match="labels of shape"):
        auroc(np.arange(3.0), np.ones(2, bool))
