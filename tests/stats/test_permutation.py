"""Permutation tests against scipy's enumeration, loops, and by their calibration under the null."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import UsageError
from mechscope.stats import (
    benjamini_hochberg,
    permutation,
    permute_labels,
    permute_labels_cells,
    sign_flip,
    sign_flip_cells,
)
from mechscope.stats.permutation import Alternative


def of_scipy(data: tuple[np.ndarray, ...], kind: str, alternative: str) -> float:
    def statistic(*columns: np.ndarray, axis: int = -1) -> np.ndarray:
        if kind == "samples":
            return np.asarray(columns[0].mean(axis=axis))
        return np.asarray(columns[0].mean(axis=axis) - columns[1].mean(axis=axis))

    found = scipy.stats.permutation_test(
        data, statistic, permutation_type=kind, vectorized=True, alternative=alternative, n_resamples=np.inf
    )
    return float(found.pvalue)


@pytest.mark.parametrize("alternative", ["greater", "less"])
@pytest.mark.parametrize("seed", range(3))
def test_exact_tests_equal_scipy(seed: int, alternative: Alternative) -> None:
    generator = np.random.default_rng(seed)
    values = np.round(generator.normal(size=9), 1) + 0.3
    found = sign_flip(values, seed=0, alternative=alternative)
    flipped = [np.mean(values * signs) for signs in itertools.product([1, -1], repeat=9)]
    sign = 1 if alternative == "greater" else -1
    assert found.p == pytest.approx(np.mean([sign * m >= sign * values.mean() - 1e-12 for m in flipped]))
    assert (found.is_exact, found.n_permutations, found.n) == (True, 511, 9)
    labels = np.array([True, False, True, True, False, False, False, True, False])
    dealt = permute_labels(values, labels, seed=0, alternative=alternative)
    assert dealt.p == pytest.approx(of_scipy((values[labels], values[~labels]), "independent", alternative))
    assert (dealt.is_exact, dealt.n_permutations) == (True, 125)
    assert dealt.value == pytest.approx(values[labels].mean() - values[~labels].mean())


def test_two_sided_counts_both_tails() -> None:
    values = np.array([0.5, 1.0, 2.0, -0.2, 0.9, 1.4])
    flipped = np.array([np.mean(values * s) for s in itertools.product([1, -1], repeat=6)])
    assert sign_flip(values, seed=0).p == np.mean(np.abs(flipped) >= abs(values.mean()) - 1e-12)
    labels = np.arange(6) < 2
    dealt = [values[list(c)].mean() - np.delete(values, list(c)).mean() for c in itertools.combinations(range(6), 2)]
    observed = values[:2].mean() - values[2:].mean()
    assert permute_labels(values, labels, seed=0).p == np.mean(np.abs(dealt) >= abs(observed) - 1e-12)


def test_drawn_p_is_near_the_exact_one_and_never_zero() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(0.4, 1, 14)
    exact, drawn = sign_flip(values, seed=0, n_permutations=20_000), sign_flip(values, seed=0, n_permutations=4000)
    assert exact.is_exact
    assert not drawn.is_exact
    assert drawn.p == pytest.approx(exact.p, abs=4 * np.sqrt(exact.p / 4000))
    assert sign_flip(values + 100, seed=0, n_permutations=999).p == pytest.approx(0.001, abs=0.001)
    labels = np.arange(40) < 20
    far = permute_labels(labels + generator.normal(size=40) / 100, labels, seed=0, n_permutations=99)
    assert (far.p, far.n_permutations) == (0.01, 99)


def test_clusters_flip_together() -> None:
    generator = np.random.default_rng(4)
    means = generator.normal(0.5, 1, 8)
    clusters = np.repeat(np.arange(8), 3)
    found = sign_flip(np.repeat(means, 3), seed=0, clusters=clusters)
    alone = sign_flip(means, seed=0)
    assert (found.p, found.value) == pytest.approx((alone.p, alone.value))
    assert (found.n, found.n_clusters) == (24, 8)
    labels = np.arange(8) % 2 == 0
    dealt = permute_labels(np.repeat(means, 3), np.repeat(labels, 3), seed=0, units=clusters)
    assert dealt.p == permute_labels(means, labels, seed=0).p


def test_strata_are_dealt_apart() -> None:
    values = np.array([10.0, 11, 12, 0, 1, 2, 3])
    labels = np.array([True, False, False, True, True, False, False])
    strata = np.array(["high"] * 3 + ["low"] * 4)
    found = permute_labels(values, labels, seed=0, strata=strata, alternative="less")
    assert (found.is_exact, found.n_permutations) == (True, 3 * 6 - 1)
    sums = [values[a] + values[list(b)].sum() for a in range(3) for b in itertools.combinations(range(3, 7), 2)]
    assert found.p == pytest.approx(np.mean([s <= values[labels].sum() + 1e-12 for s in sums]))
    many = np.tile(np.arange(4), 30)
    drawn = permute_labels(
        many * 10.0 + np.random.default_rng(0).normal(size=120), many < 1, seed=0, strata=many, n_permutations=50
    )
    assert drawn.p == 1.0  # each stratum has one label: nothing can be dealt anew


def test_missing_values_have_their_own_denominators() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(size=(10, 3)) + 0.3
    values[:3, 1] = np.nan
    values[:, 2] = np.nan
    flips = sign_flip_cells(values, seed=0, n_permutations=2000)
    assert flips.p[1] == pytest.approx(sign_flip(values[3:, 1], seed=0).p)
    assert list(flips.n) == [10, 7, 0]
    assert flips.n_family == 2
    assert np.isnan([flips.value[2], flips.p[2], flips.p_adjusted[2]]).all()
    labels = np.arange(10) % 2 == 0
    dealt = permute_labels_cells(values, labels, seed=0)
    differences = []
    for chosen in itertools.combinations(range(10), 5):
        truth = np.isin(np.arange(10), chosen)
        n = (~np.isnan(values[truth, 1])).sum(), (~np.isnan(values[~truth, 1])).sum()
        difference = np.nanmean(values[truth, 1]) - np.nanmean(values[~truth, 1])
        differences.append(abs(difference) / np.sqrt(1 / n[0] + 1 / n[1]))
        if (truth == labels).all():
            observed = differences[-1]
    assert dealt.p[1] == pytest.approx(np.mean(np.array(differences) >= observed - 1e-12))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(6)
    values, labels = generator.normal(size=(30, 4)), np.arange(30) < 12
    whole = sign_flip_cells(values, seed=1, n_permutations=333), permute_labels_cells(values, labels, seed=1)
    monkeypatch.setattr(permutation, "BLOCK_NUMBERS", 1000)
    parts = sign_flip_cells(values, seed=1, n_permutations=333), permute_labels_cells(values, labels, seed=1)
    for first, second in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(first.p, second.p)
        np.testing.assert_array_equal(first.p_adjusted, second.p_adjusted)


def test_null_experiments_are_called_as_often_as_promised() -> None:
    generator = np.random.default_rng(7)
    values = generator.exponential(size=(60, 1500)) * generator.choice([-1, 1], (60, 1500))
    labels = np.arange(60) < 15
    for p in (
        sign_flip_cells(values, seed=0, n_permutations=999).p,
        permute_labels_cells(values, labels, seed=0, n_permutations=999).p,
    ):
        assert (p <= 0.05).mean() <= 0.05 + 0.02
        assert scipy.stats.kstest(p, "uniform").pvalue > 0.01
        assert p.min() >= 0.001


def test_clustered_null_experiments_fool_only_those_who_flip_rows() -> None:
    generator = np.random.default_rng(8)
    clusters = np.repeat(np.arange(20), 4)
    values = np.repeat(generator.normal(size=(20, 600)), 4, axis=0) + 0.3 * generator.normal(size=(80, 600))
    labels = np.repeat(np.arange(20) < 8, 4)
    by_cluster = sign_flip_cells(values, seed=0, clusters=clusters, n_permutations=499).p
    by_unit = permute_labels_cells(values, labels, seed=0, units=clusters, n_permutations=499).p
    assert (by_cluster <= 0.05).mean() <= 0.07
    assert (by_unit <= 0.05).mean() <= 0.07
    assert (sign_flip_cells(values, seed=0, n_permutations=499).p <= 0.05).mean() > 0.2
    assert (permute_labels_cells(values, labels, seed=0, n_permutations=499).p <= 0.05).mean() > 0.2


def test_max_t_holds_the_family_and_finds_the_planted_cell() -> None:
    generator = np.random.default_rng(9)
    n_false = n_raw = 0
    for seed in range(150):
        shared = generator.normal(size=(40, 1))
        values = shared + generator.normal(size=(40, 13))
        found = sign_flip_cells(values, seed=seed, n_permutations=199)
        n_false += bool((found.p_adjusted <= 0.05).any())
        n_raw += bool((found.p <= 0.05).any())
    # 7 %, the promise, and three standard errors of 150 experiments would let 12 % pass: the seed gives less
    assert n_false / 150 <= 0.07
    assert n_raw / 150 > 0.15
    values = generator.normal(size=(40, 13))
    values[:, 4] += 1.2
    found = sign_flip_cells(values, seed=0, n_permutations=999)
    assert np.flatnonzero(found.p_adjusted <= 0.05).tolist() == [4]
    single = sign_flip_cells(values, seed=0, n_permutations=999, is_step_down=False)
    assert (found.p_adjusted <= single.p_adjusted).all()
    assert "step-down max-T over 13" in found.method
    assert "single-step" in single.method
    assert benjamini_hochberg(found.p)[4] <= 0.05


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=8), st.floats(0.01, 100))
def test_p_does_not_depend_on_unit_or_order(values: list[float], scale: float) -> None:
    column = np.array(values)
    p = sign_flip(column, seed=0).p
    assert 0 < p <= 1
    assert sign_flip(column[::-1] * scale, seed=0).p == p
    assert sign_flip(-column, seed=0).p == p
    labels = np.arange(len(column)) < len(column) / 2
    dealt = permute_labels(column, labels, seed=0).p
    assert 0 < dealt <= 1
    assert permute_labels(column * scale + 1000, labels, seed=0).p == dealt


def test_constant_values_are_never_significant() -> None:
    constant = np.full(30, 0.1)
    assert permute_labels(constant, np.arange(30) < 9, seed=0, n_permutations=99).p == 1
    assert sign_flip(np.zeros(30), seed=0, n_permutations=99).p == 1


def test_bad_input_is_refused() -> None:
    values, labels = np.arange(6.0), np.arange(6) < 3
    with pytest.raises(UsageError, match="labels differ within 3 of 3 units"):
        permute_labels(values, np.arange(6) % 2 == 0, seed=0, units=np.repeat(np.arange(3), 2))
    with pytest.raises(UsageError, match="strata differ within"):
        permute_labels(values, labels, seed=0, units=np.array([0, 1, 1, 3, 4, 5]), strata=np.array([0, 0, 1, 1, 1, 1]))
    with pytest.raises(UsageError, match="6 samples with the label and 0"):
        permute_labels(values, np.ones(6, bool), seed=0)
    with pytest.raises(UsageError, match="NaN"):
        sign_flip(np.array([1.0, np.nan]), seed=0)
    with pytest.raises(UsageError, match="n_permutations 0"):
        sign_flip(values, seed=0, n_permutations=0)
    with pytest.raises(UsageError, match="1 differences"):
        sign_flip(np.ones(1), seed=0)


def test_statistics_are_monotone_in_students_t() -> None:
    values = np.random.default_rng(10).normal(0.4, 1, (25, 6)) * [1, 10, 100, 1, 1, 1]
    labels = np.arange(25) < 9
    flips, dealt = (
        sign_flip_cells(values, seed=0, n_permutations=9),
        permute_labels_cells(values, labels, seed=0, n_permutations=9),
    )
    t = scipy.stats.ttest_1samp(values, 0).statistic
    np.testing.assert_allclose(flips.statistic, t / np.sqrt((24 + t**2) / 25))
    t = scipy.stats.ttest_ind(values[labels], values[~labels]).statistic
    np.testing.assert_allclose(dealt.statistic, t / np.sqrt((23 + t**2) / 25))


def test_dealings_that_empty_a_side_count_against_the_cell() -> None:
    values = np.random.default_rng(11).normal(size=(8, 2))
    values[2:, 1] = np.nan
    values[0, 1], values[1, 1] = 1, 0
    labels = np.arange(8) % 2 == 0
    found = permute_labels_cells(values, labels, seed=0)
    # with two values left, every dealing that parts them is as extreme, and the others show nothing
    assert found.p[1] == 1


def test_large_offsets_lose_no_digits() -> None:
    values, labels = np.random.default_rng(12).normal(size=40), np.arange(40) < 15
    near, far = (
        permute_labels(values + offset, labels, seed=0, n_permutations=999, alternative="greater")
        for offset in (0, 2.0**32)
    )
    assert near.p == far.p
    assert far.value == pytest.approx(near.value, rel=1e-5)


def test_kept_signs_are_those_that_are_drawn_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(0.1, 1, (60, 7))
    values[values > 2] = np.nan
    kept = sign_flip_cells(values, seed=3, n_permutations=999)
    monkeypatch.setattr("mechscope.stats.permutation.KEPT_NUMBERS", 0)
    monkeypatch.setattr("mechscope.stats.permutation.BLOCK_NUMBERS", 60 * 17)
    drawn = sign_flip_cells(values, seed=3, n_permutations=999)
    assert np.array_equal(kept.p, drawn.p)
    assert np.array_equal(kept.p_adjusted, drawn.p_adjusted)
