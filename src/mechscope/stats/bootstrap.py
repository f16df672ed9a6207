"""Cluster bootstrap of means, paired differences and differences of groups, for one column or many cells at once.

Values are summed within clusters once; clusters are drawn with replacement; each resample is a row of counts, and all
resampled means are two matrix products (see `resampling`). Below 40 clusters resampling promises too much (percentile
ends of 10 normal values cover 90 %, not 95): ends are then those of Student's t unless a method is asked for.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mechscope.core import UsageError
from mechscope.stats.distributions import student_quantile
from mechscope.stats.intervals import FEW_CLUSTERS, t_ends
from mechscope.stats.resampling import resampled_ends
from mechscope.stats.results import CellIntervals, Interval
from mechscope.stats.samples import (
    ClusterSums,
    as_cells,
    as_clusters,
    as_column,
    as_labels,
    as_weights,
    check_level,
    check_resamples,
)

__all__ = [
    "BootstrapMethod",
    "bootstrap_difference",
    "bootstrap_group_difference",
    "bootstrap_group_difference_cells",
    "bootstrap_mean",
    "bootstrap_mean_cells",
]

BootstrapMethod = Literal["auto", "percentile", "bca", "t"]


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


def bootstrap_group_difference(
    values: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    method: BootstrapMethod = "auto",
) -> Interval:
    """Mean of `values` [n] with the boolean label [n] minus that without, with a bootstrap interval.

    Args:
        seed, clusters, n_resamples, level, method: as in `bootstrap_mean`; a cluster may lie on both sides.

    Raises:
        UsageError: NaN, one label only, fewer than two values or clusters, other lengths.
    """
    table = as_column(values)[:, None]
    return bootstrap_group_difference_cells(
        table, labels, seed=seed, clusters=clusters, n_resamples=n_resamples, level=level, method=method
    ).cell(0)


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
    sums = ClusterSums.of(table, as_clusters(clusters, len(table)), as_weights(weights, len(table)))
    drawing = _Drawing(seed, check_resamples(n_resamples), check_level(level), method, clusters is not None)
    return drawing.intervals([sums], t_ends(sums, level=level), sums.n_clusters - 1.0, sums.n_clusters < FEW_CLUSTERS)


def bootstrap_group_difference_cells(
    values: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    method: BootstrapMethod = "auto",
) -> CellIntervals:
    """Differences of means with and without a label, for `values` [n, cells], NaN for missing, under the same draws.

    "auto" takes t ends where there are fewer than 40 clusters, or 20 on a side: Welch's over clusters where none lies
    on both sides, otherwise t(G - 1) of the linearised difference. Cost as `bootstrap_mean_cells`, twice.

    Raises:
        UsageError: as `bootstrap_group_difference`; NaN is allowed.
    """
    table = as_cells(values)
    truth = as_labels(labels, len(table))
    groups = as_clusters(clusters, len(table))
    sides = [ClusterSums.of(np.where(side[:, None], table, np.nan), groups) for side in (truth, ~truth)]
    drawing = _Drawing(seed, check_resamples(n_resamples), check_level(level), method, clusters is not None)
    ends, freedom = _difference_ends(sides[0], sides[1], level)
    n_least = np.minimum(sides[0].n_clusters, sides[1].n_clusters)
    has_few = (_clusters_of(sides) < FEW_CLUSTERS) | (n_least < FEW_CLUSTERS // 2)
    return drawing.intervals(sides, ends, freedom, has_few)


class _Drawing:
    """How intervals are made, by the caller's choices."""

    def __init__(self, seed: int, n_resamples: int, level: float, method: BootstrapMethod, is_clustered: bool) -> None:
        self.seed, self.n_resamples, self.level, self.method = seed, n_resamples, level, method
        self.prefix = "cluster " if is_clustered else ""

    def intervals(
        self,
        terms: list[ClusterSums],
        by_t: tuple[np.ndarray, np.ndarray, np.ndarray],
        freedom: np.ndarray,
        has_few: np.ndarray,
    ) -> CellIntervals:
        """Resampled ends where they can be trusted or are asked for, those `by_t` elsewhere."""
        value, low, high = by_t
        takes_t = has_few if self.method == "auto" else np.full(len(value), self.method == "t")
        takes_t = takes_t | np.isnan(low)
        cells = np.flatnonzero(~takes_t)
        is_bca = self.method == "bca"
        low[cells], high[cells] = resampled_ends(
            terms, cells, seed=self.seed, n_resamples=self.n_resamples, level=self.level, is_bca=is_bca
        )
        drawn = f"{self.prefix}{'BCa' if is_bca else 'percentile'} bootstrap, {self.n_resamples} resamples"
        t_names = (f"{self.prefix}t({f:.4g})" if f >= 1 else "undefined: fewer than two clusters" for f in freedom)
        methods = tuple(name if is_t else drawn for is_t, name in zip(takes_t, t_names, strict=True))
        n = np.sum([term.n for term in terms], axis=0)
        return CellIntervals(value, low, high, n, _clusters_of(terms), methods, self.level, has_few)


def _clusters_of(terms: list[ClusterSums]) -> np.ndarray:
    has_value: np.ndarray = np.any([term.weights > 0 for term in terms], axis=0).sum(axis=0)
    return has_value


def _difference_ends(
    first: ClusterSums, second: ClusterSums, level: float
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Difference and its t ends, each [cells], and degrees of freedom; NaN ends with under two clusters on a side."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means, influences, variances = [], [], []
        for side in (first, second):
            total = side.weights.sum(axis=0)
            means.append(side.sums.sum(axis=0) / total)
            influences.append((side.sums - means[-1] * side.weights) / total)
            variances.append(np.square(influences[-1]).sum(axis=0) * side.n_clusters / (side.n_clusters - 1))
        welch = sum(variances) ** 2 / sum(
            v**2 / (side.n_clusters - 1) for v, side in zip(variances, (first, second), strict=True)
        )
        # no spread on either side: any freedom gives the same ends
        welch = np.where(np.isnan(welch), first.n_clusters + second.n_clusters - 2.0, welch)
        n_clusters = _clusters_of([first, second])
        joint = np.square(influences[0] - influences[1]).sum(axis=0) * n_clusters / (n_clusters - 1)
    straddles = ((first.weights > 0) & (second.weights > 0)).any(axis=0)
    is_known = np.minimum(first.n_clusters, second.n_clusters) >= 2
    freedom = np.where(is_known, np.where(straddles, n_clusters - 1.0, welch), 0.0)
    error = np.sqrt(np.where(straddles, joint, sum(variances)))
    step = np.where(is_known, student_quantile((1 + level) / 2, np.maximum(freedom, 1)) * error, np.nan)
    difference = means[0] - means[1]
    return (difference, difference - step, difference + step), freedom
