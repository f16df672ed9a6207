"""Cluster bootstrap of means by multinomial weights.

1. Values are summed within clusters: S [G, cells], and weights of the values present: N [G, cells].
2. Each of B resamples draws G clusters with replacement; W [B, G] counts how often each was drawn.
3. All resampled means are (W S) / (W N): two matrix products, however many the cells.
4. Percentile ends are quantiles of the B means. BCa ends (Efron 1987) shift those quantiles by the bias z0 = the normal
   quantile of the share of resampled means below the estimate, and the acceleration a = sum(u^3) / (6 sum(u^2)^1.5)
   over u = the mean of the leave-one-cluster-out estimates minus each of them.
5. Below 40 clusters resampling promises too much; ends are then those of t(G - 1) unless a method is asked for.
Draws are those of `scipy.stats.bootstrap`, so that without clusters both agree resample by resample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy.stats import norm

from mechscope.core import UsageError
from mechscope.stats.intervals import FEW_CLUSTERS, t_ends
from mechscope.stats.results import CellIntervals, Interval
from mechscope.stats.samples import (
    ClusterSums,
    as_cells,
    as_clusters,
    as_column,
    as_weights,
    check_level,
    check_resamples,
)

__all__ = ["BootstrapMethod", "bootstrap_difference", "bootstrap_mean", "bootstrap_mean_cells", "draw_counts"]

BootstrapMethod = Literal["auto", "percentile", "bca", "t"]
BLOCK_NUMBERS = 4_000_000  # numbers in one block of draws, and in one block of resampled means: 32 MB each


def bootstrap_mean(
    values: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    method: BootstrapMethod = "auto",
) -> Interval:
    """Mean of `values` [n] with a bootstrap interval.

    Args:
        seed: of the draws.
        clusters: [n], samples with equal names are drawn together; None when all are independent.
        weights: [n], 0 or more; None for equal weights.
        n_resamples: B.
        level: nominal coverage.
        method: "auto" takes percentile ends, and t(G - 1) below 40 clusters.

    Raises:
        UsageError: NaN, fewer than two values or clusters, other lengths.

    >>> bootstrap_mean(np.arange(100.0), seed=0).value
    49.5
    """
    table = as_column(values)[:, None]
    return bootstrap_mean_cells(
        table, seed=seed, clusters=clusters, weights=weights, n_resamples=n_resamples, level=level, method=method
    ).cell(0)


def bootstrap_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    method: BootstrapMethod = "auto",
) -> Interval:
    """Mean of `first` minus `second`, both [n] on the same samples, with a paired bootstrap interval.

    Raises:
        UsageError: as `bootstrap_mean`, or the two differ in length.
    """
    minuend, subtrahend = as_column(first, name="first"), as_column(second, name="second")
    if len(minuend) != len(subtrahend):
        raise UsageError(
            f"{len(minuend)} values against {len(subtrahend)}",
            expected="pairs on the same samples",
            todo="pair them, or use bootstrap_group_difference",
        )
    return bootstrap_mean(
        minuend - subtrahend, seed=seed, clusters=clusters, n_resamples=n_resamples, level=level, method=method
    )


def bootstrap_mean_cells(
    values: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    method: BootstrapMethod = "auto",
) -> CellIntervals:
    """Means of `values` [n, cells], NaN for missing, with bootstrap intervals under the same draws.

    Paired differences of many cells are their differences, NaN where either is missing.
    Cost: O(B G cells) in two matrix products; memory: `values` three times, and 32 MB blocks of draws and means.

    Args:
        seed, clusters, weights, n_resamples, level, method: as in `bootstrap_mean`; "auto" decides cell by cell.

    Raises:
        UsageError: infinite values, fewer than two samples or clusters, other lengths.
    """
    table = as_cells(values)
    check_level(level)
    check_resamples(n_resamples)
    groups = as_clusters(clusters, len(table))
    sums = ClusterSums.of(table, groups, as_weights(weights, len(table)))
    value, t_low, t_high = t_ends(sums, level=level)
    has_few = sums.n_clusters < FEW_CLUSTERS
    by_t = has_few if method == "auto" else np.full(len(value), method == "t")
    by_t |= sums.n_clusters < 2
    low, high = np.where(by_t, t_low, np.nan), np.where(by_t, t_high, np.nan)
    for cells in _cell_blocks(np.flatnonzero(~by_t), n_resamples):
        part = ClusterSums(sums.sums[:, cells], sums.weights[:, cells], sums.n[cells], sums.n_clusters[cells])
        low[cells], high[cells] = _resampled_ends(part, value[cells], seed, n_resamples, level, method == "bca")
    prefix = "" if clusters is None else "cluster "
    drawn = f"{prefix}{'BCa' if method == 'bca' else 'percentile'} bootstrap, {n_resamples} resamples"
    methods = tuple(f"{prefix}t({g - 1})" if t else drawn for t, g in zip(by_t, sums.n_clusters, strict=True))
    return CellIntervals(value, low, high, sums.n, sums.n_clusters, methods, level, has_few)


def draw_counts(n_clusters: int, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks [b, clusters] of how often each cluster is drawn; the draws do not depend on the size of the blocks."""
    generator = np.random.default_rng(seed)
    n_block = max(1, BLOCK_NUMBERS // n_clusters)
    for start in range(0, n_resamples, n_block):
        n_rows = min(n_block, n_resamples - start)
        drawn = generator.integers(0, n_clusters, (n_rows, n_clusters))
        drawn += np.arange(n_rows)[:, None] * n_clusters
        counts = np.bincount(drawn.ravel(), minlength=n_rows * n_clusters)
        yield counts.reshape(n_rows, n_clusters).astype(np.float64)


def _cell_blocks(cells: np.ndarray, n_resamples: int) -> Iterator[np.ndarray]:
    n_block = max(1, BLOCK_NUMBERS // n_resamples)
    for start in range(0, len(cells), n_block):
        yield cells[start : start + n_block]


def _resampled_ends(
    sums: ClusterSums, value: np.ndarray, seed: int, n_resamples: int, level: float, is_bca: bool
) -> tuple[np.ndarray, np.ndarray]:
    blocks = draw_counts(len(sums.sums), n_resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        # a cell whose clusters were all left out of a resample has no mean there
        means = np.concatenate([(counts @ sums.sums) / (counts @ sums.weights) for counts in blocks])
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if not is_bca:
        low, high = np.nanquantile(means, tails, axis=0)
        return low, high
    shares = _bca_shares(means, value, sums, norm.ppf(tails))
    ends = np.array([np.nanquantile(means[:, i], share) for i, share in enumerate(shares)])
    return ends[:, 0], ends[:, 1]


def _bca_shares(means: np.ndarray, value: np.ndarray, sums: ClusterSums, z: np.ndarray) -> np.ndarray:
    """The shares [cells, 2] whose quantiles of the resampled means are the BCa ends."""
    known = (~np.isnan(means)).sum(axis=0)
    below = ((means < value).sum(axis=0) + (means <= value).sum(axis=0)) / (2 * known)
    bias = norm.ppf(below)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        left = (sums.sums.sum(axis=0) - sums.sums) / (sums.weights.sum(axis=0) - sums.weights)
        centred = np.nanmean(left, axis=0) - left
        spread = np.nansum(centred**2, axis=0)
        acceleration = (np.nansum(centred**3, axis=0) / (6 * spread**1.5))[:, None]
    # cells without spread have all resampled means alike: any share gives them
    bias, acceleration = np.where(np.isfinite(bias), bias, 0), np.where(np.isfinite(acceleration), acceleration, 0)
    shares: np.ndarray = norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
    return shares
