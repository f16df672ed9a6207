"""Intervals in closed form: shares, means, differences of shares, quantiles.

Wilson: the shares p with |k/n - p| <= z sqrt(p (1 - p) / n), solved for p (Wilson 1927, eq. 1).
Newcombe: for p1 - p2 with Wilson ends l, u: the distances from the estimates to the ends that matter add as squares,
low = d - sqrt((p1 - l1)^2 + (u2 - p2)^2) and high = d + sqrt((u1 - p1)^2 + (p2 - l2)^2) (Newcombe 1998, method 10).
Mean: mean +- t(G - 1) s / sqrt(G); with clusters s^2 / G is G / (G - 1) times the sum of squared cluster influences
(sum of a cluster - mean x its weight) / total weight, the linearised variance of a ratio (Cochran 1977, eq. 6.13).
Quantile: the k-th smallest of n lies below the q-quantile with binomial probability, so that two order statistics
hold it with at least the level, whatever the distribution (Conover 1999, section 3.2).
All but the mean take samples as independent: token positions of one row are not, so that Wilson intervals of densities,
shares and lifts over token positions are too narrow.
"""

from __future__ import annotations

import numpy as np

from mechscope.core import UsageError
from mechscope.stats.distributions import binomial_quantile, normal_quantile, student_quantile
from mechscope.stats.results import Interval
from mechscope.stats.samples import ClusterSums, as_clusters, as_column, as_weights, check_level

__all__ = [
    "FEW_CLUSTERS",
    "Z_95",
    "ends_of_t",
    "mean_interval",
    "quantile_interval",
    "share_difference",
    "share_interval",
    "t_ends",
    "wilson",
]

Z_95 = 1.959963984540054
FEW_CLUSTERS = 40


def wilson(k: int | np.ndarray, n: int | np.ndarray, *, z: float = Z_95) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the Wilson interval for `k` of `n`, elementwise; 0 and 1 where `n` is 0."""
    n_safe = np.maximum(np.asarray(n, dtype=np.float64), 1)
    share = np.asarray(k, dtype=np.float64) / n_safe
    centre = share + z * z / (2 * n_safe)
    spread = z * np.sqrt(share * (1 - share) / n_safe + z * z / (4 * n_safe**2))
    scale = 1 + z * z / n_safe
    is_empty = np.asarray(n) == 0
    low = np.where(is_empty | (np.asarray(k) == 0), 0.0, (centre - spread) / scale)
    high = np.where(is_empty | (np.asarray(k) == np.asarray(n)), 1.0, (centre + spread) / scale)
    return low, high


def share_interval(k: int, n: int, *, level: float = 0.95) -> Interval:
    """Share `k` / `n` of independent samples with its Wilson interval.

    Raises:
        UsageError: `n` below 1, or `k` outside 0 to `n`.
    """
    _check_share(k, n)
    low, high = wilson(k, n, z=_z(level))
    return Interval(k / n, float(low), float(high), n, n, "Wilson", level)


def share_difference(k_first: int, n_first: int, k_second: int, n_second: int, *, level: float = 0.95) -> Interval:
    """Difference of two independent shares, first minus second, with Newcombe's interval; `n` counts both.

    Raises:
        UsageError: a count below 1, or more hits than samples.
    """
    first, second = share_interval(k_first, n_first, level=level), share_interval(k_second, n_second, level=level)
    difference = first.value - second.value
    low = difference - np.hypot(first.value - first.low, second.high - second.value)
    high = difference + np.hypot(first.high - first.value, second.value - second.low)
    n = n_first + n_second
    return Interval(difference, float(low), float(high), n, n, "Newcombe", level)


def mean_interval(
    values: np.ndarray, *, clusters: np.ndarray | None = None, weights: np.ndarray | None = None, level: float = 0.95
) -> Interval:
    """Mean of `values` [n] with a t interval, by clusters where given. O(n).

    Args:
        clusters: [n], samples with equal names are not independent; None when all are.
        weights: [n], 0 or more; None for equal weights.

    Raises:
        UsageError: NaN, fewer than two values or clusters, other lengths.
    """
    column = as_column(values)
    sums = ClusterSums.of(column[:, None], as_clusters(clusters, len(column)), as_weights(weights, len(column)))
    value, low, high = (float(end[0]) for end in t_ends(sums, level=level))
    n_clusters = int(sums.n_clusters[0])
    method = f"t({n_clusters - 1})" if clusters is None else f"cluster t({n_clusters - 1})"
    return Interval(value, low, high, int(sums.n[0]), n_clusters, method, level, n_clusters < FEW_CLUSTERS)


def t_ends(sums: ClusterSums, *, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and the ends of their t intervals, each [cells]; NaN where fewer than two clusters have values."""
    check_level(level)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = sums.weights.sum(axis=0)
        mean = sums.sums.sum(axis=0) / total
        influence = (sums.sums - mean * sums.weights) / total
        n_clusters = sums.n_clusters.astype(np.float64)
        error = np.sqrt(np.square(influence).sum(axis=0) * n_clusters / (n_clusters - 1))
    step = student_quantile((1 + level) / 2, np.maximum(n_clusters - 1, 1)) * error
    is_known = n_clusters >= 2
    return mean, np.where(is_known, mean - step, np.nan), np.where(is_known, mean + step, np.nan)


def ends_of_t(value: float, error: float, freedom: float, level: float) -> tuple[float, float]:
    """`value` plus and minus the t quantile times its standard error."""
    step = float(student_quantile((1 + level) / 2, freedom)) * error
    return value - step, value + step


def quantile_interval(values: np.ndarray, q: float, *, level: float = 0.95) -> Interval:
    """Quantile `q` of `values` [n] with a distribution-free interval between two order statistics. O(n log n).

    An end beyond the sample, where no order statistic is far enough out, is infinite.

    Raises:
        UsageError: `q` outside (0, 1), NaN, or fewer than two values.
    """
    column = np.sort(as_column(values))
    if not 0 < q < 1:
        raise UsageError(f"quantile {q}", expected="above 0 and below 1", todo="write the median as 0.5")
    tail, n = (1 - check_level(level)) / 2, len(column)
    # the k-th smallest exceeds the quantile with probability P(Binomial(n, q) < k)
    n_below = binomial_quantile(tail, n, q)
    n_above = binomial_quantile(1 - tail, n, q) + 1
    low = float(column[n_below - 1]) if n_below >= 1 else -np.inf
    high = float(column[n_above - 1]) if n_above <= n else np.inf
    return Interval(float(np.quantile(column, q)), low, high, n, n, "binomial order statistics", level)


def _z(level: float) -> float:
    return float(normal_quantile((1 + check_level(level)) / 2))


def _check_share(k: int, n: int) -> None:
    if n < 1 or not 0 <= k <= n:
        raise UsageError(f"{k} of {n}", expected="n of 1 or more, and k from 0 to n", todo="count again")
