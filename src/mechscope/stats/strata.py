"""Mean differences within strata, pooled with Mantel-Haenszel weights.

In stratum s with n1 samples with the label and n0 without, d_s is the difference of their means. The pooled difference
is sum(w d) / sum(w) with w = n1 n0 / (n1 + n0): the Mantel-Haenszel weights for continuous outcomes (Greenland and
Rothman 2008, ch. 15), and the coefficient of the label in least squares with a dummy for each stratum. Its standard
error is the cluster-robust one of that regression (see `regression`), from residuals within strata.
Strata with one label only say nothing about the difference: they are left out and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError
from mechscope.stats.intervals import FEW_CLUSTERS, ends_of_t
from mechscope.stats.results import Interval
from mechscope.stats.samples import as_clusters, as_column, as_labels, check_length, check_level, ranks

__all__ = ["StratifiedDifference", "StratumDifference", "stratified_difference"]


@dataclass(frozen=True)
class StratumDifference:
    """One stratum: samples with and without the label, the difference of their means, its share of the weight."""

    name: str
    n_with: int
    n_without: int
    difference: float
    weight: float


@dataclass(frozen=True)
class StratifiedDifference:
    """A difference within strata.

    Attributes:
        pooled: over all strata; `n` counts the samples in them.
        strata: those with both labels, by name.
        n_strata_left_out: strata with one label only.
        n_left_out: samples in them.
    """

    pooled: Interval
    strata: tuple[StratumDifference, ...]
    n_strata_left_out: int
    n_left_out: int


def stratified_difference(
    values: np.ndarray,
    labels: np.ndarray,
    strata: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
) -> StratifiedDifference:
    """Mean of `values` [n] with a boolean label [n] minus that without, within equal names in `strata` [n]. O(n log n).

    For a p that does not lean on normality: `permute_labels(..., strata=strata)`.

    Args:
        clusters: [n], samples with equal names are not independent; None when all are.
        level: nominal coverage.

    Raises:
        UsageError: NaN, other lengths, no stratum with both labels, or fewer than two clusters or spare samples.
    """
    column, check = as_column(values), check_level(level)
    n_all = len(column)
    truth, names = as_labels(labels, n_all), np.asarray(strata)
    names = names.astype(str) if names.dtype == object else names
    check_length(names, n_all, "strata")
    _, stratum = ranks(names)
    known = np.empty(int(stratum.max()) + 1, names.dtype)
    known[stratum] = names
    n_with, n_total = np.bincount(stratum, truth), np.bincount(stratum)
    is_mixed = (n_with > 0) & (n_with < n_total)
    keep = is_mixed[stratum]
    n, n_strata = int(keep.sum()), int(is_mixed.sum())
    if n < n_strata + 2:
        raise UsageError(
            f"{n_strata} strata with both labels, {n} samples in them",
            expected="a stratum with both, and two samples more than strata",
            todo="use coarser strata",
        )
    y, x = (_within(v, stratum, n_total)[keep] for v in (column, truth.astype(np.float64)))
    weight = float(x @ x)
    pooled = float(x @ y) / weight
    groups = as_clusters(None if clusters is None else _named(clusters, n_all)[keep], n)
    n_clusters = int(groups.max()) + 1
    scores = np.bincount(groups, x * (y - pooled * x))
    correction = n_clusters / (n_clusters - 1) * (n - 1) / (n - n_strata - 1)
    freedom, robust = (n - n_strata - 1, "HC1") if clusters is None else (n_clusters - 1, "CR1 by clusters")
    low, high = ends_of_t(pooled, float(np.sqrt(correction * scores @ scores)) / weight, freedom, check)
    method = f"Mantel-Haenszel weights over {n_strata} strata, {robust}, t({freedom})"
    interval = Interval(pooled, low, high, n, n_clusters, method, level, n_clusters < FEW_CLUSTERS)
    mean_with = np.bincount(stratum, column * truth) / np.maximum(n_with, 1)
    mean_without = np.bincount(stratum, column * ~truth) / np.maximum(n_total - n_with, 1)
    difference, share = mean_with - mean_without, n_with * (n_total - n_with) / n_total / weight

    def row(s: int) -> StratumDifference:
        n_here = int(n_with[s])
        return StratumDifference(str(known[s]), n_here, int(n_total[s]) - n_here, float(difference[s]), float(share[s]))

    rows = tuple(row(int(s)) for s in np.flatnonzero(is_mixed))
    return StratifiedDifference(interval, rows, int((~is_mixed).sum()), n_all - n)


def _within(values: np.ndarray, stratum: np.ndarray, n_total: np.ndarray) -> np.ndarray:
    """Values less the mean of their stratum."""
    centred: np.ndarray = values - (np.bincount(stratum, values) / n_total)[stratum]
    return centred


def _named(clusters: np.ndarray, n: int) -> np.ndarray:
    names = np.asarray(clusters)
    check_length(names, n, "clusters")
    return names
