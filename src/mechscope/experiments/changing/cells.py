"""Cells of paired differences: for each condition n, mean, interval, corrected p, effect size, and a flag.

Cells of fewer than 5 independent base contexts are not interpreted: they keep their n and mean and have no interval and
no p. Cells of 5 to 20 are flagged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.stats import bootstrap_mean_cells, sign_flip_cells
from mechscope.stats.samples import ClusterSums, ranks

__all__ = ["CELL_COLUMNS", "FEW", "MODERATE", "PairedCells", "flag_of", "least_p", "n_clusters_of", "paired_cells"]

FEW, MODERATE = 5, 20
N_PERMUTATIONS = 1999
N_RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class PairedCells:
    """Estimates of each cell, arrays [cells]; NaN where there is none.

    Attributes:
        n, n_clusters: differences, and independent base contexts among them.
        mean, std_error: of the differences; the error is that of clusters.
        low, high: 95 % interval by cluster bootstrap (by t below 40 clusters).
        p, p_corrected: sign-flip, alone and max-T over the cells tested; never below `least_p`.
        effect: paired standardised effect d_z, mean over standard deviation of the cluster means.
        flags: "" or what to beware of.
        n_tested: cells in the family of the correction.
    """

    n: np.ndarray
    n_clusters: np.ndarray
    mean: np.ndarray
    std_error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    p_corrected: np.ndarray
    effect: np.ndarray
    flags: tuple[str, ...]
    n_tested: int

    def row(self, index: int) -> dict[str, Any]:
        """The columns that every table of cells has."""
        return {
            "mean_delta": self.mean[index],
            "std_error": self.std_error[index],
            "n": int(self.n[index]),
            "low": self.low[index],
            "high": self.high[index],
            "p": self.p[index],
            "p_corrected": self.p_corrected[index],
            "effect": self.effect[index],
            "flag": self.flags[index],
        }


CELL_COLUMNS = ("mean_delta", "std_error", "n", "low", "high", "p", "p_corrected", "effect", "flag")


def flag_of(n: int) -> str:
    """What to beware of at n independent samples; empty above 20."""
    if n < FEW:
        return f"n < {FEW}: not interpreted"
    return f"n {FEW}-{MODERATE}: few" if n <= MODERATE else ""


def n_clusters_of(deltas: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Clusters with a value in each cell of `deltas` [n, cells] (NaN: none), int64 [cells]."""
    if not len(deltas):
        return np.zeros(deltas.shape[1], np.int64)
    return ClusterSums.of(deltas, ranks(clusters)[1]).n_clusters


def least_p(deltas: np.ndarray, clusters: np.ndarray, *, n_sides: int = 2) -> np.ndarray:
    """The smallest p that flipping signs can give each cell of `deltas` [n, cells], by its own clusters.

    A cell whose differences lie in G clusters has 2^G sign patterns, and those of one sign all are one of them (of
    two, two-sided); clusters that do not differ at all give nothing to flip. Flips drawn for a larger table can fall
    below that by chance.
    """
    sums = ClusterSums.of(deltas, ranks(clusters)[1]).sums
    n_telling: np.ndarray = (sums != 0).sum(axis=0)
    return np.minimum(1.0, n_sides * 0.5**n_telling)


def paired_cells(
    deltas: np.ndarray,
    clusters: np.ndarray,
    *,
    seed: int,
    n_permutations: int = N_PERMUTATIONS,
    should_bound: bool = True,
) -> PairedCells:
    """Estimates and tests of paired differences [n, cells] (NaN: not measured), each test corrected over the cells.

    Args:
        deltas: differences to the reference, in activation units.
        clusters: [n], equal where two base contexts are not independent.
        seed: of resamples and sign flips, which are the same for all cells.
        n_permutations: sign flips; all of them where there are fewer.
        should_bound: False leaves out intervals, for a half that only selects.
    """
    sums = ClusterSums.of(deltas, ranks(clusters)[1])
    n, n_clusters = sums.n, sums.n_clusters
    means, spread = _cluster_means(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, sums.sums.sum(axis=0) / n, np.nan)
        effect = np.where(spread > 0, means / spread, np.where(mean == 0, 0.0, np.nan))
    shape = np.full(deltas.shape[1], np.nan)
    low, high, p, p_corrected, error = (shape.copy() for _ in range(5))
    is_tested = n_clusters >= FEW
    if is_tested.any():
        table = deltas[:, is_tested]
        kept = ~np.isnan(table).all(axis=1)
        if should_bound:
            intervals = bootstrap_mean_cells(table[kept], seed=seed, clusters=clusters[kept], n_resamples=N_RESAMPLES)
            low[is_tested], high[is_tested] = intervals.low, intervals.high
        tests = sign_flip_cells(table[kept], seed=seed, clusters=clusters[kept], n_permutations=n_permutations)
        least = least_p(table[kept], clusters[kept])
        p[is_tested], p_corrected[is_tested] = np.maximum(tests.p, least), np.maximum(tests.p_adjusted, least)
        error[is_tested] = _cluster_errors(sums)[is_tested]
    flags = tuple(flag_of(int(count)) for count in n_clusters)
    return PairedCells(
        n,
        n_clusters,
        mean,
        error,
        low,
        high,
        p,
        p_corrected,
        np.where(is_tested, effect, np.nan),
        flags,
        int(is_tested.sum()),
    )


def _cluster_means(sums: ClusterSums) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the clusters' means, each [cells]."""
    counts, n = sums.weights, sums.n_clusters
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(counts > 0, sums.sums / counts, np.nan)
        mean = np.nansum(each, axis=0) / n
        spread = np.sqrt(np.nansum((each - mean) ** 2, axis=0) / (n - 1))
    return mean, spread


def _cluster_errors(sums: ClusterSums) -> np.ndarray:
    """Standard errors of the means, robust to dependence within clusters, [cells]."""
    counts, n = sums.weights, sums.n_clusters
    total = counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sums.sum(axis=0) / total
        influence = (sums.sums - mean * counts) / total
        errors: np.ndarray = np.sqrt(np.square(influence).sum(axis=0) * n / (n - 1))
    return errors
