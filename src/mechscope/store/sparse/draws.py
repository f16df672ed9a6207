"""Seeded examples from bands of the quantiles, for many features at once.

Every feature has its own stream of 64-bit numbers: SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom
number generators", fig. 17) from a seed derived of the root seed and the feature's id, so that how features are cut
into blocks changes nothing. A feature with at most `n_draws` non-zeros takes all of them in the order of those numbers;
a larger one takes the positions `number mod n`, later repeats dropped (the bias is below n / 2^64). The first ones that
fall into each band are kept, each uniform within its band.
"""

from __future__ import annotations

import numpy as np

from mechscope.core import derive_seed

__all__ = ["draw_positions", "first_in_bands"]

LAST = np.uint64(0xFFFFFFFFFFFFFFFF)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def draw_positions(counts: np.ndarray, features: np.ndarray, n_draws: int, *, seed: int) -> np.ndarray:
    """Distinct positions in 0..counts[i]-1 for each feature, in random order: int64 [n, n_draws], -1 where none.

    Args:
        counts: int64 [n], at least 1. features: their ids, which choose the streams.
    """
    root = np.uint64(derive_seed(seed, "bands"))
    streams = _mix(_mix(root + features.astype(np.uint64) * GOLDEN))
    at = np.arange(n_draws, dtype=np.int64)
    numbers = _mix(streams[:, None] + (at.astype(np.uint64) + np.uint64(1)) * GOLDEN)
    is_small = counts <= n_draws
    positions = np.empty(numbers.shape, np.int64)
    n_small = counts[is_small][:, None]
    order = np.argsort(np.where(at < n_small, numbers[is_small], LAST), axis=1, kind="stable")
    positions[is_small] = np.where(at < n_small, order, -1)
    drawn = (numbers[~is_small] % counts[~is_small].astype(np.uint64)[:, None]).astype(np.int64)
    positions[~is_small] = _without_repeats(drawn)
    return positions


def first_in_bands(
    positions: np.ndarray, values: np.ndarray, edges: np.ndarray, n_kept: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The first `n_kept` draws of each band, as (feature index, band, place in the band, draw index), flat.

    Args:
        positions: [n, n_draws], -1 where there is no draw. values: [n, n_draws], what lies there.
        edges: [n, n_bands + 1], ascending; band b holds edges[b] < value <= edges[b + 1], the lowest also its low edge.
    """
    band = np.zeros(positions.shape, np.int16)
    for edge in edges[:, 1:-1].T:
        band += values > edge[:, None]
    band[positions < 0] = -1
    parts = []
    for b in range(edges.shape[1] - 1):
        is_in = band == b
        place = np.cumsum(is_in, axis=1) - 1
        feature, draw = np.nonzero(is_in & (place < n_kept))
        parts.append((feature, np.full(len(feature), b), place[feature, draw], draw))
    feature, bands, place, draw = (np.concatenate(part) for part in zip(*parts, strict=True))
    return feature, bands, place, draw


def _without_repeats(drawn: np.ndarray) -> np.ndarray:
    order = np.argsort(drawn, axis=1, kind="stable")
    ranked = np.take_along_axis(drawn, order, axis=1)
    is_repeat = np.zeros(drawn.shape, bool)
    np.put_along_axis(is_repeat, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    return np.where(is_repeat, -1, drawn)


def _mix(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's output function, a bijection on 64-bit numbers."""
    z = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed
