"""Effect sizes with intervals.

Cohen's d = (m1 - m0) / s, s pooled; Hedges' g = J d with J = Gamma(v/2) / (sqrt(v/2) Gamma((v-1)/2)), v = n1 + n0 - 2
(Hedges 1981). d_z = mean / s of paired differences. Their intervals invert the noncentral t (Steiger and Fouladi 1997),
exact for normal values; above 1000 degrees of freedom by Abramowitz and Stegun 26.7.10.
Point-biserial r = t / sqrt(t^2 + v), its ends those of d on the same map.
AUROC = P(x1 > x0) + P(x1 = x0) / 2 and Cliff's delta = 2 AUROC - 1 (Cliff 1993), by ranks; ends of `areas`.
All but the AUROC take samples as independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import chdtri, gammaln, nctdtr

from mechscope.stats.areas import measure_area
from mechscope.stats.distributions import normal_quantile
from mechscope.stats.intervals import FEW_CLUSTERS
from mechscope.stats.results import Interval
from mechscope.stats.samples import as_clusters, as_column, as_labels, check_level

__all__ = ["auroc", "cliffs_delta", "cohens_d", "hedges_g", "paired_dz", "point_biserial"]

EXACT_FREEDOM = 1000  # above, the noncentral t of scipy breaks down in places, and a formula is as good
EXACT_T = 1000.0  # likewise
NARROW = 1e-12  # share of a noncentrality that its bracket may still have


def cohens_d(first: np.ndarray, second: np.ndarray, *, level: float = 0.95) -> Interval:
    """Mean of `first` minus `second` in pooled standard deviations; NaN when neither has any spread.

    Raises:
        UsageError: NaN, or fewer than two values on a side.
    """
    t, n_first, n_second = _two_sample_t(first, second)
    scale = math.sqrt(1 / n_first + 1 / n_second)
    return _of_t(t, n_first + n_second - 2, n_first + n_second, level, "noncentral t", lambda x: x * scale)


def hedges_g(first: np.ndarray, second: np.ndarray, *, level: float = 0.95) -> Interval:
    """Cohen's d without its small-sample bias; its ends shrink alike.

    Raises:
        UsageError: as `cohens_d`.
    """
    t, n_first, n_second = _two_sample_t(first, second)
    v = n_first + n_second - 2
    shrink = math.exp(gammaln(v / 2) - gammaln((v - 1) / 2)) / math.sqrt(v / 2) if v > 1 else 0.0
    scale = shrink * math.sqrt(1 / n_first + 1 / n_second)
    return _of_t(t, v, v + 2, level, "noncentral t", lambda x: x * scale)


def paired_dz(differences: np.ndarray, *, level: float = 0.95) -> Interval:
    """Mean of paired `differences` [n] in their own standard deviations; NaN when they have no spread.

    Raises:
        UsageError: NaN, or fewer than two.
    """
    column = as_column(differences, name="differences")
    n = len(column)
    t = _ratio(float(column.mean()) * math.sqrt(n), float(column.std(ddof=1)), float(np.abs(column).max()))
    return _of_t(t, n - 1, n, level, "noncentral t", lambda x: x / math.sqrt(n))


def point_biserial(values: np.ndarray, labels: np.ndarray, *, level: float = 0.95) -> Interval:
    """Correlation of `values` [n] with a boolean label [n]; NaN when values have no spread on either side.

    Raises:
        UsageError: NaN, other lengths, or fewer than two values on a side.
    """
    column = as_column(values)
    truth = as_labels(labels, len(column), n_fewest=2)
    t, n_first, n_second = _two_sample_t(column[truth], column[~truth])
    v = n_first + n_second - 2
    return _of_t(t, v, v + 2, level, "noncentral t", lambda x: x / math.sqrt(x * x + v))


def cliffs_delta(first: np.ndarray, second: np.ndarray, *, level: float = 0.95) -> Interval:
    """P(first > second) - P(first < second), its ends those of the AUROC. O(n log n).

    Raises:
        UsageError: NaN, or no value on a side.
    """
    x, y = as_column(first, name="first", n_fewest=1), as_column(second, name="second", n_fewest=1)
    area = auroc(np.concatenate([x, y]), np.arange(len(x) + len(y)) < len(x), level=level)
    return replace(area, value=2 * area.value - 1, low=2 * area.low - 1, high=2 * area.high - 1)


def auroc(
    scores: np.ndarray, labels: np.ndarray, *, clusters: np.ndarray | None = None, level: float = 0.95
) -> Interval:
    """P(score with the label > score without), ties counted half, with DeLong's interval. O(n log n).

    Args:
        scores: [n].
        labels: boolean [n].
        clusters: [n], samples with equal names are not independent; None when all are.

    Raises:
        UsageError: NaN, other lengths, or one label only.
    """
    column = as_column(scores, name="scores")
    truth = as_labels(labels, len(column))
    groups = None if clusters is None else as_clusters(clusters, len(column))
    area = measure_area(column, truth, clusters=groups, level=check_level(level))
    n_clusters = len(column) if groups is None else int(groups.max()) + 1
    method = "DeLong" if groups is None else "cluster DeLong"
    return Interval(area.value, area.low, area.high, len(column), n_clusters, method, level, n_clusters < FEW_CLUSTERS)


def _two_sample_t(first: np.ndarray, second: np.ndarray) -> tuple[float, int, int]:
    x, y = as_column(first, name="first"), as_column(second, name="second")
    n, m = len(x), len(y)
    squares = float(np.square(x - x.mean()).sum() + np.square(y - y.mean()).sum())
    error = math.sqrt(squares / (n + m - 2) * (1 / n + 1 / m))
    return _ratio(float(x.mean() - y.mean()), error, float(max(np.abs(x).max(), np.abs(y).max()))), n, m


def _ratio(mean: float, spread: float, largest: float) -> float:
    """NaN where the spread is nothing but rounding."""
    return mean / spread if spread > 1e-13 * largest else math.nan


def _of_t(t: float, v: int, n: int, level: float, method: str, to_effect: Callable[[float], float]) -> Interval:
    """The effect at t, and at the noncentralities that put t at the two tails."""
    tail = (1 - check_level(level)) / 2
    if math.isnan(t):
        return Interval(math.nan, math.nan, math.nan, n, n, "undefined: no spread", level)
    low, high = _noncentrality(t, v, 1 - tail), _noncentrality(t, v, tail)
    return Interval(to_effect(t), to_effect(low), to_effect(high), n, n, method, level)


def _noncentrality(t: float, v: int, share_below: float) -> float:
    """The noncentrality under which `share_below` of the t distribution lies below t."""
    if t < 0:  # scipy's noncentral t breaks down in the mirrored half
        return -_noncentrality(-t, v, 1 - share_below)
    # Abramowitz and Stegun 26.7.10, solved for the noncentrality, which rises with t from its exact value at t = 0
    z = float(normal_quantile(share_below))
    guess = max(-z, t * (1 - 1 / (4 * v)) - z * math.sqrt(1 + t * t / (2 * v)))
    if v > EXACT_FREEDOM:
        return guess
    if t > EXACT_T:
        # centre / sqrt(chi2 / v) alone, widened by what the normal part of t adds to the variance
        return t + t * (math.sqrt(float(chdtri(v, share_below)) / v) - 1) * math.sqrt(1 + 2 * v / (t * t))

    def excess(centre: float) -> float:
        return float(nctdtr(v, centre, t)) - share_below

    # brackets grow from the guess, since far from it the distribution function of scipy breaks down
    low = high = guess
    step = 0.1 * math.sqrt(1 + t * t / (2 * v))
    while excess(low) < 0:
        low, step = low - step, 2 * step
    while excess(high) > 0:
        high, step = high + step, 2 * step
    while high - low > NARROW * max(1.0, abs(low)):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2
