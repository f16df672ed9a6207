"""Split-half reliability against its theory and a loop."""

from __future__ import annotations

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.stats import half_correlation, reliability_of_blocks, split_half
from mechscope.stats.reliability import draw_splits


def test_planted_reliability_is_found() -> None:
    generator = np.random.default_rng(0)
    # the mean over half of 40 samples has noise 1 / 20 around items of variance 0.25: r = 5 / 6, Spearman-Brown 10 / 11
    found = [
        split_half(generator.normal(0, 0.5, 300) + generator.normal(size=(40, 300)), seed=seed, n_splits=30)
        for seed in range(12)
    ]
    halves, values = np.array([f.half for f in found]), np.array([f.value for f in found])
    assert halves.mean() == pytest.approx(5 / 6, abs=3 * halves.std() / np.sqrt(12) + 0.003)
    assert values.mean() == pytest.approx(10 / 11, abs=3 * values.std() / np.sqrt(12) + 0.003)
    assert all(f.low <= f.value <= f.high for f in found)
    assert (found[0].n, found[0].n_items, found[0].n_splits) == (40, 300, 30)


def test_noise_has_no_reliability_and_copies_fake_it_unless_clustered() -> None:
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(20, 400))
    assert abs(split_half(noise, seed=0).value) < 0.15
    copies, clusters = np.repeat(noise, 2, axis=0), np.repeat(np.arange(20), 2)
    assert split_half(copies, seed=0).value > 0.4
    clustered = split_half(copies, seed=0, clusters=clusters)
    assert clustered.value == pytest.approx(split_half(noise, seed=0).value)
    assert (clustered.n, clustered.n_clusters) == (40, 20)


def test_sums_of_blocks_give_what_the_table_gives_and_the_jackknife_is_that_of_a_loop() -> None:
    generator = np.random.default_rng(4)
    values = generator.normal(size=(30, 7)) + np.arange(7) / 4
    found = split_half(values, seed=9, n_splits=15)
    same = reliability_of_blocks(values, np.ones_like(values), seed=9, n_splits=15, n=30, n_clusters=30)
    assert (same.value, same.low, same.high) == (found.value, found.low, found.high)
    halves = np.argsort(np.random.default_rng(9).random((15, 30)), axis=1) < 15
    z = []
    for left_out in range(30):
        keep = np.arange(30) != left_out
        r = [np.corrcoef(values[keep & half].mean(axis=0), values[keep & ~half].mean(axis=0))[0, 1] for half in halves]
        z.append(np.arctanh(np.mean(r)))
    step = 2.045229642132703 * np.sqrt(29 / 30 * np.square(np.array(z) - np.mean(z)).sum())  # t(29)
    ends = np.tanh(np.arctanh(found.half) + np.array([-step, step]))
    raised = np.where(ends > 0, 2 * ends / (1 + np.maximum(ends, 0)), ends)
    np.testing.assert_allclose([found.low, found.high], raised)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_it_equals_a_loop_with_missing_values(kind: str) -> None:
    generator = np.random.default_rng(2)
    values = generator.normal(size=(11, 9)) + np.arange(9) / 3
    values[generator.random(values.shape) < 0.2] = np.nan
    found = split_half(values, seed=3, kind="spearman" if kind == "spearman" else "pearson", n_splits=20)
    r = []
    for order in np.argsort(np.random.default_rng(3).random((20, 11)), axis=1):
        first = order < 5
        a, b = np.nanmean(values[first], axis=0), np.nanmean(values[~first], axis=0)
        if kind == "spearman":
            a, b = np.argsort(np.argsort(a)), np.argsort(np.argsort(b))
        r.append(np.corrcoef(a, b)[0, 1])
    assert found.half == pytest.approx(np.mean(r))
    assert found.value == pytest.approx(2 * np.mean(r) / (1 + np.mean(r)))


def test_opposite_halves_are_not_blown_up() -> None:
    values = np.array([[1.0, 2, 3], [1, 2, 3], [3, 2, 1], [3, 2, 1.1]])
    found = split_half(values, seed=0)
    # a third of the halves is opposite (r = -1), the others are alike but for a speck: constant or nearly so
    assert -1 < found.half < 0
    assert found.value == found.half
    assert -1 <= found.low < found.value < found.high <= 1


def test_the_interval_covers_what_other_samples_would_give() -> None:
    generator = np.random.default_rng(6)
    effects = generator.normal(0, 0.15, 50)

    def drawn() -> np.ndarray:
        """Samples that hold about a third of the items, each with one value for all that it holds."""
        holds = generator.random((400, 50)) < 0.3
        values = holds @ effects + generator.normal(size=400)
        return np.where(holds, values[:, None], np.nan)

    truth = np.mean([np.corrcoef(*(np.nanmean(drawn(), axis=0) for _ in range(2)))[0, 1] for _ in range(300)])
    found = [split_half(drawn(), seed=seed, n_splits=20) for seed in range(100)]
    covered = np.mean([f.low <= truth <= f.high for f in found])
    assert covered >= 0.89  # 0.95 less three standard deviations of a share of 100
    assert np.mean([f.value for f in found]) == pytest.approx(truth, abs=0.03)
    assert np.mean([f.high - f.low for f in found]) < 0.5
    assert (found[0].n, found[0].n_blocks) == (400, 40)


def test_halves_that_say_nothing_count_as_zero() -> None:
    values = np.zeros((4, 5))
    values[0] = np.arange(5)
    found = split_half(values, seed=0)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="3 values"):
        split_half(np.ones((3, 5)), seed=0)
    with pytest.raises(UsageError, match="2 items"):
        split_half(np.random.default_rng(0).normal(size=(8, 2)), seed=0)
    with pytest.raises(UsageError, match="without spread"):
        split_half(np.ones((8, 5)), seed=0)
    with pytest.raises(UsageError, match="2 clusters"):
        split_half(np.random.default_rng(0).normal(size=(8, 5)), seed=0, clusters=np.arange(8) % 2)


def test_an_item_without_values_changes_nothing() -> None:
    generator = np.random.default_rng(6)
    sums, counts, splits = generator.normal(size=(8, 30)), np.full((8, 30), 5.0), draw_splits(8, 10, seed=0)
    more, none = (np.concatenate([table, np.zeros((8, 1))], axis=1) for table in (sums, counts))
    whole = half_correlation(sums, counts, splits)
    assert half_correlation(more, none, splits) == pytest.approx(whole, abs=1e-12)
    rs = [
        np.corrcoef(side @ sums / (side @ counts), (1 - side) @ sums / ((1 - side) @ counts))[0, 1] for side in splits
    ]
    assert whole == pytest.approx(np.mean(rs), abs=1e-12)
    assert half_correlation(np.ones((8, 30)), counts, splits) == 0.0
