"""The bootstrap against scipy resample by resample, slow versions, and planted truths."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import UsageError
from mechscope.stats import (
    bootstrap_difference,
    bootstrap_group_difference,
    bootstrap_group_difference_cells,
    bootstrap_mean,
    bootstrap_mean_cells,
    mean_interval,
    resampling,
)
from mechscope.stats.bootstrap import BootstrapMethod


def skewed(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n)


@pytest.mark.parametrize(("method", "of_scipy"), [("percentile", "percentile"), ("bca", "BCa")])
@pytest.mark.parametrize("n", [7, 60])
def test_ends_equal_scipy_under_the_same_draws(method: BootstrapMethod, of_scipy: str, n: int) -> None:
    values = skewed(n)
    found = bootstrap_mean(values, seed=3, n_resamples=500, method=method)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=500, rng=np.random.default_rng(3), method=of_scipy
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.value == pytest.approx(values.mean())
    assert (found.n, found.n_clusters, found.has_few_clusters) == (n, n, n < 40)


def test_clusters_weights_and_missing_values_equal_a_loop() -> None:
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(50), generator.integers(1, 5, 50))
    values = generator.normal(size=(len(clusters), 3)) + clusters[:, None] / 20
    values[generator.random(values.shape) < 0.3] = np.nan
    weights = generator.random(len(clusters))
    found = bootstrap_mean_cells(values, seed=5, clusters=clusters, weights=weights, n_resamples=200)
    draws = np.random.default_rng(5).integers(0, 50, (200, 50))
    for cell in range(3):
        means = []
        for draw in draws:
            rows = np.concatenate([np.flatnonzero((clusters == c) & ~np.isnan(values[:, cell])) for c in draw])
            means.append(np.average(values[rows, cell], weights=weights[rows]))
        assert (found.low[cell], found.high[cell]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
        present = ~np.isnan(values[:, cell])
        assert found.n[cell] == present.sum()
        assert found.n_clusters[cell] == len(np.unique(clusters[present]))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(size=(61, 7))
    whole = bootstrap_mean_cells(values, seed=1, n_resamples=301, method="bca")
    monkeypatch.setattr(resampling, "BLOCK_NUMBERS", 611)
    blocks = bootstrap_mean_cells(values, seed=1, n_resamples=301, method="bca")
    np.testing.assert_allclose(whole.low, blocks.low, rtol=1e-12)
    np.testing.assert_allclose(whole.high, blocks.high, rtol=1e-12)


def test_the_seed_decides() -> None:
    values = skewed(80)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_few_clusters_get_t_ends_and_say_so() -> None:
    values = skewed(12)
    found = bootstrap_mean(values, seed=0)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.has_few_clusters
    assert found.method == "t(11)"
    many = bootstrap_mean(np.repeat(values, 10), seed=0, clusters=np.repeat(np.arange(12), 10))
    assert (many.low, many.high) == pytest.approx((expected.low, expected.high))
    assert (many.n, many.n_clusters, many.method) == (120, 12, "cluster t(11)")
    assert bootstrap_mean(values, seed=0, method="percentile").method.startswith("percentile")


def test_cells_without_values_are_undefined() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[:, 1] = np.nan
    values[1:, 2] = np.nan
    found = bootstrap_mean_cells(values, seed=0)
    assert np.isnan(found.value[1])
    assert np.isnan(found.low[1:]).all()
    assert list(found.n) == [50, 0, 1]
    assert found.cell(2).method == "undefined: fewer than two clusters"
    assert not found.cell(2).excludes_zero


def test_paired_differences_are_means_of_differences() -> None:
    generator = np.random.default_rng(4)
    shared = generator.normal(size=200) * 10
    first, second = shared + generator.normal(size=200) + 1, shared + generator.normal(size=200)
    paired = bootstrap_difference(first, second, seed=0)
    assert paired == bootstrap_mean(first - second, seed=0)
    labels = np.arange(400) < 200
    unpaired = bootstrap_group_difference(np.concatenate([first, second]), labels, seed=0)
    assert paired.excludes_zero
    assert not unpaired.excludes_zero  # what the samples share drowns the difference unless they are paired


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_group_differences_equal_a_loop(method: BootstrapMethod) -> None:
    generator = np.random.default_rng(6)
    clusters = generator.integers(0, 45, 120)
    labels = generator.random(120) < 0.4
    values = generator.normal(size=120) + labels
    found = bootstrap_group_difference(values, labels, seed=2, clusters=clusters, n_resamples=300, method=method)
    names = np.unique(clusters)

    def difference(rows: np.ndarray) -> float:
        return float(values[rows][labels[rows]].mean() - values[rows][~labels[rows]].mean())

    rows_of = [np.flatnonzero(clusters == name) for name in names]
    draws = np.random.default_rng(2).integers(0, len(names), (300, len(names)))
    drawn = np.array([difference(np.concatenate([rows_of[c] for c in draw])) for draw in draws])
    value, tails = difference(np.arange(120)), np.array([0.025, 0.975])
    if method == "bca":
        left = np.array([difference(np.flatnonzero(clusters != name)) for name in names])
        u = left.mean() - left
        a = (u**3).sum() / (6 * (u**2).sum() ** 1.5)
        shift = scipy.stats.norm.ppf((drawn < value).mean()) + scipy.stats.norm.ppf(tails)
        tails = scipy.stats.norm.cdf(shift - scipy.stats.norm.ppf(tails) + shift / (1 - a * shift))
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, tails)))


def test_small_groups_get_welch_ends() -> None:
    generator = np.random.default_rng(7)
    labels = np.arange(70) < 9
    values = generator.normal(size=70) * np.where(labels, 3, 1)
    found = bootstrap_group_difference(values, labels, seed=0)
    expected = scipy.stats.ttest_ind(values[labels], values[~labels], equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.has_few_clusters
    pairs = np.concatenate([np.arange(35), np.arange(35)])
    halves = np.arange(70) < 35
    straddling = bootstrap_group_difference(values, halves, seed=0, clusters=pairs)
    paired = mean_interval(values[:35] - values[35:])
    assert (straddling.low, straddling.high) == pytest.approx((paired.low, paired.high))


def test_a_cell_with_one_side_is_undefined() -> None:
    labels = np.arange(60) < 30
    values = np.random.default_rng(8).normal(size=(60, 3))
    values[labels, 1] = np.nan
    values[:29, 2] = np.nan
    found = bootstrap_group_difference_cells(values, labels, seed=0)
    assert np.isnan(found.low).tolist() == [False, True, True]
    assert np.isnan(found.value).tolist() == [False, True, False]
    assert list(found.n) == [60, 30, 31]


@pytest.mark.parametrize(
    ("n_clusters", "method"), [(12, "auto"), (60, "auto"), (60, "bca")], ids=["12 by t", "60 percentile", "60 BCa"]
)
def test_clustered_intervals_cover_the_truth_and_naive_ones_do_not(n_clusters: int, method: BootstrapMethod) -> None:
    generator = np.random.default_rng(9)
    clusters = np.repeat(np.arange(n_clusters), 5)
    shared = np.repeat(generator.normal(size=(n_clusters, 600)), 5, axis=0)
    values = shared + 0.5 * generator.normal(size=(len(clusters), 600))
    found = bootstrap_mean_cells(values, seed=0, clusters=clusters, n_resamples=600, method=method)
    covered = ((found.low < 0) & (found.high > 0)).mean()
    naive = bootstrap_mean_cells(values, seed=0, n_resamples=600)
    # three standard errors of a share of 600 around 95 %
    assert 0.923 <= covered <= 0.977
    assert ((naive.low < 0) & (naive.high > 0)).mean() < 0.75


def test_group_differences_cover_the_truth() -> None:
    generator = np.random.default_rng(10)
    labels = np.arange(130) < 50
    values = generator.exponential(size=(130, 600)) * np.where(labels, 2, 1)[:, None]
    found = bootstrap_group_difference_cells(values, labels, seed=0, n_resamples=600)
    assert 0.923 <= ((found.low < 1) & (found.high > 1)).mean() <= 0.977


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=60),
    st.floats(0.1, 10),
    st.floats(-50, 50),
    st.sampled_from(["auto", "percentile", "bca", "t"]),
)
def test_intervals_follow_scale_and_shift(
    values: list[float], scale: float, shift: float, method: BootstrapMethod
) -> None:
    column = np.array(values)
    plain = bootstrap_mean(column, seed=0, n_resamples=99, method=method)
    moved = bootstrap_mean(column * scale + shift, seed=0, n_resamples=99, method=method)
    assert plain.low <= plain.high
    assert (moved.low, moved.value, moved.high) == pytest.approx(
        (plain.low * scale + shift, plain.value * scale + shift, plain.high * scale + shift), rel=1e-6, abs=1e-6
    )


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (np.array([1.0, np.nan]), {}, "1 of 2 values are NaN"),
        (np.array([1.0, np.inf]), {}, "infinite"),
        (np.array([1.0]), {}, "1 values"),
        (np.zeros(0), {}, "0 values"),
        (np.zeros((3, 2)), {}, "shape"),
        (np.arange(4.0), {"clusters": np.zeros(4)}, "1 clusters"),
        (np.arange(4.0), {"clusters": np.zeros(3)}, r"clusters of shape \(3,\)"),
        (np.arange(4.0), {"weights": np.array([1.0, -1, 1, 1])}, "below 0"),
        (np.arange(4.0), {"weights": np.zeros(4)}, "all 0"),
        (np.arange(4.0), {"level": 95.0}, "level 95"),
        (np.arange(4.0), {"n_resamples": 0}, "n_resamples 0"),
    ],
)
def test_bad_input_is_refused(values: np.ndarray, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bootstrap_mean(values, seed=0, **options)


def test_unpaired_columns_are_refused() -> None:
    with pytest.raises(UsageError, match="4 values against 3"):
        bootstrap_difference(np.arange(4.0), np.arange(3.0), seed=0)
    with pytest.raises(UsageError, match="infinite"):
        bootstrap_mean_cells(np.full((3, 1), np.inf), seed=0)
    with pytest.raises(UsageError, match="0 samples with the label"):
        bootstrap_group_difference(np.arange(4.0), np.zeros(4, bool), seed=0)
    with pytest.raises(UsageError, match="type float64"):
        bootstrap_group_difference(np.arange(4.0), np.ones(4), seed=0)
