"""Least squares with cluster-robust standard errors, and group effects adjusted for covariates.

b = (X'X)^-1 X'y. With u_g = sum over cluster g of x e (e the residuals), CR1 is
c (X'X)^-1 (sum u_g u_g') (X'X)^-1 with c = G / (G - 1) x (n - 1) / (n - k) (Liang and Zeger 1986; Cameron and Miller
2015, eq. 11). When each sample is its own cluster this is HC1. Intervals and p are of t(G - 1), of t(n - k) without
clusters. With few clusters, or few that hold a label, CR1 is too small: results say when G is below 40.
These are associations given the covariates; nothing here makes them causal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr

from mechscope.core import UsageError
from mechscope.stats.distributions import student_quantile, student_tail
from mechscope.stats.intervals import FEW_CLUSTERS
from mechscope.stats.results import Interval
from mechscope.stats.samples import as_cells, as_clusters, as_column, check_length, check_level, sum_by

__all__ = ["Coefficients", "adjusted_difference", "adjusted_group_effects", "dummies", "least_squares"]


@dataclass(frozen=True)
class Coefficients:
    """Coefficients, or contrasts of them, with cluster-robust intervals.

    Attributes:
        names: of the coefficients [k].
        values, standard_errors, low, high, p: float64 [k]; p is two-sided, for 0.
        covariance: float64 [k, k].
        counts: samples behind each [k]: those of the group, or all.
        n: samples.
        n_clusters: independent units.
        freedom: degrees of freedom of the t distribution.
        r_squared: share of the variance of the values that the whole fit explains.
        method: how, in words.
        level: nominal coverage.
        has_few_clusters: fewer than 40.
    """

    names: tuple[str, ...]
    values: np.ndarray
    standard_errors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    covariance: np.ndarray
    counts: np.ndarray
    n: int
    n_clusters: int
    freedom: int
    r_squared: float
    method: str
    level: float
    has_few_clusters: bool

    def interval(self, name: str) -> Interval:
        """The interval of one; `n` counts the samples behind it."""
        at = self.names.index(name)
        ends = float(self.values[at]), float(self.low[at]), float(self.high[at])
        return Interval(*ends, int(self.counts[at]), self.n_clusters, self.method, self.level, self.has_few_clusters)

    def contrast(self, matrix: np.ndarray, names: Sequence[str], counts: np.ndarray) -> Coefficients:
        """Weighted sums of the coefficients: `matrix` [contrasts, k]."""
        covariance = matrix @ self.covariance @ matrix.T
        return _with_ends(self, tuple(names), matrix @ self.values, covariance, counts)


def least_squares(
    values: np.ndarray,
    columns: np.ndarray,
    *,
    names: Sequence[str],
    clusters: np.ndarray | None = None,
    has_intercept: bool = True,
    level: float = 0.95,
) -> Coefficients:
    """Least squares of `values` [n] on `columns` [n, k], an intercept first where asked for. O(n k^2).

    Args:
        names: of the columns; the intercept is called "intercept".
        clusters: [n], samples with equal names are not independent; None when all are.

    Raises:
        UsageError: NaN, other lengths, columns that others make up (they are named), too few samples or clusters.
    """
    outcome, table = as_column(values), as_cells(columns, name="columns")
    check_length(table[:, 0], len(outcome), "columns")
    if np.isnan(table).any() or len(names) != table.shape[1] or len(set(names)) < len(names):
        raise UsageError(
            f"columns {list(names)} for {table.shape[1]} columns, {int(np.isnan(table).sum())} values NaN",
            expected="one name each, all different, and no NaN",
            todo="name each column once, and leave out samples with missing values",
        )
    all_names = ("intercept", *names) if has_intercept else tuple(names)
    design = np.column_stack([np.ones(len(outcome)), table]) if has_intercept else table
    n, k = design.shape
    groups = as_clusters(clusters, n)
    n_clusters = int(groups.max()) + 1
    check_level(level)
    inverse = _inverse(design, all_names)
    coefficients = inverse @ (design.T @ outcome)
    residuals = outcome - design @ coefficients
    scores = sum_by(design * residuals[:, None], groups, n_clusters)
    correction = n_clusters / (n_clusters - 1) * (n - 1) / (n - k)
    covariance = correction * inverse @ (scores.T @ scores) @ inverse
    total = float(np.square(outcome - outcome.mean()).sum())
    r_squared = 1 - float(residuals @ residuals) / total if total > 0 else float("nan")
    freedom, method = (n - k, "HC1") if clusters is None else (n_clusters - 1, "CR1 by clusters")
    blank, few = np.zeros(k), n_clusters < FEW_CLUSTERS
    fit = Coefficients(
        all_names, blank, blank, blank, blank, blank, covariance, np.full(k, n), n, n_clusters, freedom, r_squared,
        f"least squares, {method}, t({freedom})", level, few,
    )  # fmt: skip
    return _with_ends(fit, all_names, coefficients, covariance, fit.counts)


def adjusted_difference(
    values: np.ndarray,
    labels: np.ndarray,
    covariates: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
) -> Interval:
    """Mean of `values` [n] with a boolean label [n] minus that without, at equal `covariates` [n, c].

    `n` counts the samples with the label.

    Raises:
        UsageError: as `least_squares`, also when the covariates give the label away.
    """
    truth = np.asarray(labels)
    effects = adjusted_group_effects(
        values, np.where(truth, "with", "without"), covariates, clusters=clusters, reference="without", level=level
    )
    return effects.interval("with")


def adjusted_group_effects(
    values: np.ndarray,
    groups: np.ndarray,
    covariates: np.ndarray | None = None,
    *,
    clusters: np.ndarray | None = None,
    reference: str | None = None,
    level: float = 0.95,
) -> Coefficients:
    """Mean of each group less a reference, at equal covariates.

    Args:
        values: [n].
        groups: [n], names.
        covariates: [n, c], numbers; None for none.
        clusters: [n], samples with equal names are not independent.
        reference: a group; None for the mean of all groups weighted by their samples.
        level: nominal coverage.

    Returns:
        One effect for each group in the order of the sorted names, the reference left out; `counts` are its samples.

    Raises:
        UsageError: as `least_squares`; fewer than two groups; a reference that is none of them.
    """
    names = np.asarray(groups).astype(str)
    known, counts = np.unique(names, return_counts=True)
    if len(known) < 2 or (reference is not None and reference not in known):
        raise UsageError(
            f"groups {known.tolist()[:5]} with reference {reference!r}",
            expected="two groups or more, the reference among them",
            todo="check the names of the groups",
        )
    indicators = (names[:, None] == known).astype(np.float64)
    columns, all_names = indicators, [f"group {name}" for name in known]
    if covariates is not None:
        # centred, so that coefficients of groups are their means at the mean covariates
        table = as_cells(covariates, name="covariates")
        columns = np.column_stack([indicators, table - table.mean(axis=0)])
        all_names += [f"covariate {i}" for i in range(table.shape[1])]
    fit = least_squares(values, columns, names=all_names, clusters=clusters, has_intercept=False, level=level)
    base = counts / counts.sum() if reference is None else (known == reference).astype(np.float64)
    matrix = np.zeros((len(known), columns.shape[1]))
    matrix[:, : len(known)] = np.eye(len(known)) - base
    keep = known != reference if reference is not None else np.ones(len(known), bool)
    return fit.contrast(matrix[keep], known[keep].tolist(), counts[keep])


def dummies(names: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """0-1 columns [n, names - 1] for `names` [n], the first of the sorted names left out, and what they stand for."""
    known = np.unique(np.asarray(names).astype(str))
    columns = (np.asarray(names).astype(str)[:, None] == known[1:]).astype(np.float64)
    return columns, tuple(known[1:].tolist())


def _inverse(design: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(X'X)^-1, or an error that names the columns which others make up."""
    n, k = design.shape
    if n <= k:
        raise UsageError(f"{n} samples for {k} coefficients", expected="more samples", todo="drop some columns")
    scale = np.linalg.norm(design, axis=0)
    _, triangle, order = qr(design / np.where(scale > 0, scale, 1), mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(triangle))
    spare = order[diagonal <= 1e-10 * diagonal[0]]
    if len(spare):
        raise UsageError(
            f"the other columns make up {', '.join(names[i] for i in sorted(spare))}",
            expected="columns that each add something",
            todo="leave it out, or merge the groups that it separates",
        )
    half = np.zeros((k, k))
    half[order] = np.linalg.inv(triangle)
    inverse: np.ndarray = (half @ half.T) / np.outer(scale, scale)
    return inverse


def _with_ends(
    fit: Coefficients, names: tuple[str, ...], values: np.ndarray, covariance: np.ndarray, counts: np.ndarray
) -> Coefficients:
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    step = student_quantile((1 + fit.level) / 2, fit.freedom) * errors
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * student_tail(np.abs(values / errors), fit.freedom)
    return Coefficients(
        names, values, errors, values - step, values + step, p, covariance, counts,
        fit.n, fit.n_clusters, fit.freedom, fit.r_squared, fit.method, fit.level, fit.has_few_clusters,
    )  # fmt: skip
