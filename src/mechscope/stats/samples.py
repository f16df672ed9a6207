"""Checks of samples, and sums over their clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError

__all__ = [
    "ClusterSums",
    "as_cells",
    "as_clusters",
    "as_column",
    "as_labels",
    "as_weights",
    "check_length",
    "check_level",
    "check_resamples",
    "n_different",
    "ranks",
    "sum_by",
]


MOST_NUMBERS = 8
"""Numbers up to so many times as large as there are of them are told apart by a table; others are sorted."""


@dataclass(frozen=True)
class ClusterSums:
    """Weighted sums of each cluster and cell.

    Attributes:
        sums: [clusters, cells], missing values left out.
        weights: [clusters, cells], summed weight of the values present.
        n: values present [cells].
        n_clusters: clusters with a value present [cells].
    """

    sums: np.ndarray
    weights: np.ndarray
    n: np.ndarray
    n_clusters: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None) -> ClusterSums:
        """Sums of `values` [n, cells] (NaN: missing) by `clusters` [n] (0 to G - 1). Memory: three such arrays.

        Values of weight 0 are missing.
        """
        is_present = ~np.isnan(values) if weights is None else ~np.isnan(values) & (weights > 0)[:, None]
        weight = is_present.astype(np.float64) if weights is None else is_present * weights[:, None]
        filled = np.where(is_present, values, 0.0) * weight
        n_clusters = int(clusters.max()) + 1
        if n_clusters == len(clusters):
            order = slice(None) if (np.diff(clusters) > 0).all() else np.argsort(clusters)
            sums, totals, has_value = filled[order], weight[order], is_present[order]
        else:
            sums, totals = sum_by(filled, clusters, n_clusters), sum_by(weight, clusters, n_clusters)
            has_value = sum_by(is_present.astype(np.float64), clusters, n_clusters) > 0
        return cls(sums, totals, is_present.sum(axis=0), has_value.sum(axis=0))


def sum_by(values: np.ndarray, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
    """Sums of `values` [n, cells] over equal numbers in `clusters`: [n_clusters, cells]."""
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(n_clusters))
    sums: np.ndarray = np.add.reduceat(values[order], starts, axis=0)
    return sums


def as_column(values: np.ndarray, *, name: str = "values", n_fewest: int = 2) -> np.ndarray:
    """`values` as float64 [n].

    Raises:
        UsageError: not one-dimensional, fewer than `n_fewest`, NaN or infinite.
    """
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise UsageError(f"{name} of shape {column.shape}", expected="one axis, [n]", todo="pass one column")
    _check_count(len(column), name, n_fewest)
    n_bad = int((~np.isfinite(column)).sum())
    if n_bad:
        raise UsageError(
            f"{n_bad} of {len(column)} {name} are NaN or infinite",
            expected="finite numbers",
            todo="leave those samples out, and say how many they were",
        )
    return column


def as_cells(values: np.ndarray, *, name: str = "values", n_fewest: int = 2) -> np.ndarray:
    """`values` as float64 [n, cells], NaN for missing.

    Raises:
        UsageError: not two-dimensional, no cells, fewer than `n_fewest` samples, or infinite.
    """
    cells = np.asarray(values, dtype=np.float64)
    if cells.ndim != 2 or not cells.shape[1]:
        raise UsageError(f"{name} of shape {cells.shape}", expected="[n, cells], a cell or more", todo="pass a table")
    _check_count(len(cells), name, n_fewest)
    if np.isinf(cells).any():
        raise UsageError(f"infinite {name}", expected="finite numbers, NaN for missing", todo="leave them out")
    return cells


def as_clusters(clusters: np.ndarray | None, n: int, *, n_fewest: int = 2) -> np.ndarray:
    """Numbers 0 to G - 1 [n] in the order of the sorted names; each sample its own cluster for None.

    Raises:
        UsageError: another length, or fewer than `n_fewest` clusters.
    """
    if clusters is None:
        return np.arange(n)
    names = np.asarray(clusters)
    check_length(names, n, "clusters")
    n_clusters, index = ranks(names)
    _check_count(n_clusters, "clusters", n_fewest)
    return index


def ranks(names: np.ndarray) -> tuple[int, np.ndarray]:
    """How many names there are, and the place of each among them in order, int64 [n]; numbers are not sorted."""
    if (
        len(names)
        and np.issubdtype(names.dtype, np.integer)
        and names.min() >= 0
        and names.max() < MOST_NUMBERS * len(names)
    ):
        is_there = np.bincount(names) > 0
        return int(is_there.sum()), (np.cumsum(is_there) - 1)[names]
    known, index = np.unique(names, return_inverse=True)
    return len(known), np.asarray(index, dtype=np.int64).reshape(len(names))


def n_different(names: np.ndarray) -> int:
    """How many names there are in `names` [n]."""
    return ranks(names)[0]


def as_labels(labels: np.ndarray, n: int, *, n_fewest: int = 1) -> np.ndarray:
    """`labels` as booleans [n].

    Raises:
        UsageError: another length, other values than booleans, or fewer than `n_fewest` of either.
    """
    truth = np.asarray(labels)
    check_length(truth, n, "labels")
    if truth.dtype != np.bool_:
        raise UsageError(f"labels of type {truth.dtype}", expected="booleans", todo="compare them to the label meant")
    n_true = int(truth.sum())
    if min(n_true, n - n_true) < n_fewest:
        raise UsageError(
            f"{n_true} samples with the label and {n - n_true} without",
            expected=f"at least {n_fewest} of each",
            todo="take more samples, or leave this comparison out",
        )
    return truth


def as_weights(weights: np.ndarray | None, n: int) -> np.ndarray | None:
    """Weights as float64 [n]; None stays None.

    Raises:
        UsageError: another length, negative, NaN or infinite, or all zero.
    """
    if weights is None:
        return None
    column = as_column(weights, name="weights")
    check_length(column, n, "weights")
    if (column < 0).any() or not column.any():
        raise UsageError("weights below 0 or all 0", expected="0 or more, some above", todo="leave such samples out")
    return column


def check_length(values: np.ndarray, n: int, name: str) -> None:
    """Refuse other shapes than [n]."""
    if values.shape != (n,):
        raise UsageError(f"{name} of shape {values.shape} for {n} samples", expected=f"({n},)", todo="pass one each")


def check_level(level: float) -> float:
    """A nominal coverage in (0, 1)."""
    if not 0 < level < 1:
        raise UsageError(f"level {level}", expected="above 0 and below 1", todo="write 95 % as 0.95")
    return level


def check_resamples(n_resamples: int, name: str = "n_resamples") -> int:
    """At least one."""
    if n_resamples < 1:
        raise UsageError(f"{name} {n_resamples}", expected="1 or more", todo="2000 is a good start")
    return n_resamples


def _check_count(n: int, name: str, n_fewest: int) -> None:
    if n < n_fewest:
        raise UsageError(f"{n} {name}", expected=f"at least {n_fewest}", todo="take more samples")
