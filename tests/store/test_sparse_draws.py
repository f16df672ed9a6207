"""Draws are distinct, uniform, and each feature's own."""

from __future__ import annotations

import numpy as np
import pytest

from mechscope.store.sparse.draws import _mix, draw_positions, first_in_bands


def test_splitmix_equals_the_published_one() -> None:
    """First outputs of SplitMix64 from seed 1234567, as printed with the reference implementation."""
    states = (np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    assert _mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("n", [1, 7, 30, 31, 1000])
def test_draws_are_distinct_and_in_range(n: int) -> None:
    drawn = draw_positions(np.full(50, n), np.arange(50), 30, seed=1)
    for row in drawn:
        kept = row[row >= 0]
        assert len(set(kept.tolist())) == len(kept)
        assert kept.max() < n
        assert len(kept) == n if n <= 30 else len(kept) >= 10
    assert n == 1 or not (drawn[0] == drawn[1]).all()


@pytest.mark.parametrize("n", [20, 40])
def test_first_draws_are_uniform(n: int) -> None:
    drawn = draw_positions(np.full(20_000, n), np.arange(20_000), 30, seed=2)
    for column in (0, 5):
        kept = drawn[:, column][drawn[:, column] >= 0]
        counts = np.bincount(kept, minlength=n)
        expected = len(kept) / n
        assert ((counts - expected) ** 2 / expected).sum() < n + 5 * np.sqrt(2 * n)


def test_a_feature_draws_the_same_whatever_stands_beside_it() -> None:
    counts, features = np.array([10, 500, 90]), np.array([4, 7, 9])
    together = draw_positions(counts, features, 30, seed=3)
    for i in range(3):
        np.testing.assert_array_equal(draw_positions(counts[[i]], features[[i]], 30, seed=3)[0], together[i])
    assert not np.array_equal(draw_positions(counts, features, 30, seed=4), together)


def test_the_first_of_each_band_are_kept() -> None:
    positions = np.array([[3, 1, 2, -1, 0]])
    values = np.array([[5.0, 1.0, 2.0, 9.0, 1.5]])
    found = first_in_bands(positions, values, np.array([[1.0, 2.0, 5.0]]), 2)
    kept = sorted(zip(*(part.tolist() for part in found[1:]), strict=True))
    assert kept == [(0, 0, 1), (0, 1, 2), (1, 0, 0)]
