"""Bootstrap ends of a mean, or of a difference of two, over very many units: bundles are resampled in their place.

Units are dealt at random into 2048 bundles of equal numbers. Sums of bundles have the variance of sums of units, and a
percentile interval from 2048 bundles has an error of its own of 1.6 % of its width, half of that of 2000 resamples.
"""

from __future__ import annotations

import numpy as np

from mechscope.core import numpy_generator
from mechscope.stats.resampling import resampled_ends
from mechscope.stats.samples import ClusterSums

__all__ = ["MOST_UNITS", "N_BUNDLES", "bundle_units", "bundled_difference", "bundled_mean"]

MOST_UNITS, N_BUNDLES = 4096, 2048
N_RESAMPLES = 2000
Ends = tuple[float, float, float]


def bundle_units(units: np.ndarray, n_units: int, *, seed: int) -> np.ndarray | None:
    """The bundle of each sample from its unit, 0 to `n_units` - 1, int64 [n]; None for 4096 units or fewer."""
    if n_units <= MOST_UNITS:
        return None
    bundles: np.ndarray = (numpy_generator(seed, "bundles").permutation(n_units) % N_BUNDLES)[units]
    return bundles


def bundled_mean(values: np.ndarray, bundles: np.ndarray, *, seed: int, level: float = 0.95) -> Ends:
    """Mean of `values` [n], and its percentile ends over 2000 resamples of bundles."""
    return _ends([_sums(values, bundles)], seed, level)


def bundled_difference(
    values: np.ndarray, labels: np.ndarray, bundles: np.ndarray, *, seed: int, level: float = 0.95
) -> Ends:
    """Mean of `values` [n] with the boolean label less that without, and its ends as in `bundled_mean`."""
    return _ends([_sums(values[side], bundles[side]) for side in (labels, ~labels)], seed, level)


def _sums(values: np.ndarray, bundles: np.ndarray) -> ClusterSums:
    counts = np.bincount(bundles, minlength=N_BUNDLES).astype(np.float64)[:, None]
    sums = np.bincount(bundles, weights=values, minlength=N_BUNDLES)[:, None]
    return ClusterSums(sums, counts, np.array([len(values)]), (counts > 0).sum(axis=0))


def _ends(terms: list[ClusterSums], seed: int, level: float) -> Ends:
    low, high = resampled_ends(
        terms, np.array([0]), seed=seed, n_resamples=N_RESAMPLES, level=level, is_bca=False
    )  # fmt: skip
    means = [float(term.sums.sum() / term.weights.sum()) for term in terms]
    return means[0] - sum(means[1:]), float(low[0]), float(high[0])
