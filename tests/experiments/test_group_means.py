"""Group means against loops over rows, bundles against single units, and drawn dealings against real ones."""

from __future__ import annotations

import numpy as np
import pytest

from mechscope.experiments.groups import means as group_means
from mechscope.experiments.groups.means import GroupMeans
from mechscope.stats import bundles
from mechscope.stats import group_dealings as group_dealing
from mechscope.stats.group_dealings import deal_groups

MASTER = 31


def rows(seed: int, n: int, *, share: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Zero-inflated lognormal values and groups of very unequal size; group 3 is raised."""
    generator = np.random.default_rng((MASTER, seed))
    place = generator.choice(6, n, p=[0.5, 0.3, 0.13, 0.05, 0.015, 0.005])
    values = np.where(generator.random(n) < share, generator.lognormal(0, 0.8, n), 0.0)
    return values + 0.12 * (place == 3) * values, place


def measured(values: np.ndarray, place: np.ndarray, clusters: np.ndarray | None = None, seed: int = 0) -> GroupMeans:
    names = np.array([f"g{at}" for at in place])
    units = np.arange(len(values)) if clusters is None else clusters
    return group_means.group_means(values, names, units, min_examples=10, seed=seed)


def test_numbers_and_names_give_the_same() -> None:
    values, place = rows(0, 3000)
    by_name = measured(values, place)
    labels = [f"g{at}" for at in range(6)]
    by_number = group_means.group_means(values, place, np.arange(3000), min_examples=10, seed=0, labels=labels)
    assert by_number.names == by_name.names
    np.testing.assert_array_equal(by_number.low, by_name.low)
    np.testing.assert_array_equal(by_number.p_corrected, by_name.p_corrected)


def test_bundles_of_units_give_the_intervals_of_units(monkeypatch: pytest.MonkeyPatch) -> None:
    values, place = rows(1, 20_000)
    bundled = measured(values, place)
    monkeypatch.setattr(bundles, "MOST_UNITS", 20_000)
    exact = measured(values, place)
    assert bundled.names == exact.names
    np.testing.assert_array_equal(bundled.delta, exact.delta)
    width = exact.high - exact.low
    np.testing.assert_allclose(bundled.high - bundled.low, width, rtol=0.12)  # two Monte Carlo errors of 3 %, and 1.6 %
    np.testing.assert_allclose(bundled.low, exact.low, atol=0.12 * width.max())


def test_t_ends_and_clusters_equal_a_loop() -> None:
    generator = np.random.default_rng((MASTER, 2))
    clusters = np.repeat(np.arange(30), 20)
    place = generator.integers(0, 3, 600)
    values = generator.exponential(size=600) + clusters / 30
    found = measured(values, place, clusters)
    for at, name in enumerate(found.names):
        here = place == int(name[1:])
        mean = values[here].mean()
        moved = []
        for cluster in range(30):
            own = (values[here & (clusters == cluster)] - mean).sum() / here.sum()
            moved.append(own - (values[clusters == cluster] - values.mean()).sum() / 600)
        error = np.sqrt(np.square(moved).sum() * 30 / 29)
        assert found.delta[at] == pytest.approx(mean - values.mean())
        assert (found.high[at] - found.low[at]) / 2 / error == pytest.approx(2.045230, rel=1e-5)
        assert found.n_clusters[at] == 30


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_drawn_sums_are_those_of_real_dealings(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    values, place = rows(3, 12_000, share=share)
    sums = values - values.mean()
    monkeypatch.setattr(group_dealing, "MOST_DEALT", 10**9)
    real, real_corrected = deal_groups(sums, place, 6, seed=1)
    monkeypatch.setattr(group_dealing, "MOST_DEALT", 4000)
    drawn, drawn_corrected = deal_groups(sums, place, 6, seed=1)
    for one, other in ((real, drawn), (real_corrected, drawn_corrected)):
        error = np.sqrt(np.maximum(one * (1 - one), 1 / 2000) * 2 / 2000)
        assert (np.abs(one - other) < 4 * error + 0.01).all(), (one, other)


def test_drawn_sums_keep_the_variances_and_covariances_of_the_dealing() -> None:
    values, place = rows(4, 40_000)
    sums, n = values - values.mean(), np.bincount(place)
    drawn = group_dealing._drawn_sums(sums, n, np.random.default_rng((MASTER, 5)))
    total = len(values)
    expected = sums.var() * total / (total - 1) * (np.diag(n) - np.outer(n, n) / total)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.cov(drawn.T) / scale, expected / scale, atol=0.12)
    np.testing.assert_allclose(drawn.mean(axis=0) / np.sqrt(np.diag(expected)), 0, atol=0.1)


def test_nothing_is_claimed_of_dealt_groups_more_often_than_stated() -> None:
    hits = 0
    for seed in range(25):
        generator = np.random.default_rng((MASTER, 6, seed))
        values = np.where(generator.random(9000) < 0.3, generator.lognormal(size=9000), 0.0)
        place = generator.choice(6, 9000, p=[0.5, 0.3, 0.13, 0.05, 0.015, 0.005])
        hits += bool(deal_groups(values - values.mean(), place, 6, seed=seed)[1].min() < 0.05)
    assert hits <= 5  # 1.25 expected; 99.9 % of such counts are below 6
