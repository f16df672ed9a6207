"""Sums and products of columns within strata, a block of rows at a time: what a regression needs of its rows.

With S the sums of a stratum and c its rows, the products of columns less their stratum means are X'X - sum S S' / c.
Columns are small integers (places on ladders, presence) kept in bytes, so that blocks of a million rows are made, used
and overwritten in the cache, and products of integers lose no digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Columns", "Fit", "Moments"]

BLOCK_ROWS = 4096
RCOND = 1e-10
NOTHING = 1e-9
"""Share of a column's sum of squares that may be left within strata and still be rounding."""


@dataclass(frozen=True, eq=False)
class Columns:
    """The design of a regression: indicators of levels, then covariates.

    Attributes:
        place: index of each row's level among the indicators, -1 for none of them, integers [n].
        n_levels: indicators. covariates: numbers [n, m].
    """

    place: np.ndarray
    n_levels: int
    covariates: np.ndarray

    @property
    def width(self) -> int:
        """Indicators and covariates together."""
        return self.n_levels + int(self.covariates.shape[1])

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows and their design, float64 [block, width]; the next block overwrites it."""
        n, k = len(self.place), self.n_levels
        buffer = np.empty((min(BLOCK_ROWS, n), self.width))
        for start in range(0, n, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, n))
            design = buffer[: rows.stop - start]
            design[:, :k] = self.place[rows, None] == np.arange(k)
            design[:, k:] = self.covariates[rows]
            yield rows, design


@dataclass(frozen=True, eq=False)
class Moments:
    """Of n rows in strata.

    Attributes:
        counts: rows of each stratum [strata]. sums: of design and outcome, [strata, width + 1].
        products: of design and outcome, not centred, [width, width + 1].
    """

    counts: np.ndarray
    sums: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, columns: Columns, y: np.ndarray, strata: np.ndarray, n_strata: int) -> Moments:
        """One pass over the rows."""
        sums, products = np.zeros((n_strata, columns.width + 1)), np.zeros((columns.width, columns.width + 1))
        for rows, design in columns.blocks():
            products[:, :-1] += design.T @ design
            products[:, -1] += design.T @ y[rows]
            n = len(design)
            owner = sparse.csc_array((np.ones(n), strata[rows], np.arange(n + 1)), shape=(n_strata, n))
            sums[:, :-1] += owner @ design
        sums[:, -1] = np.bincount(strata, weights=y, minlength=n_strata)
        return cls(np.bincount(strata, minlength=n_strata), sums, products)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.counts + other.counts, self.sums + other.sums, self.products + other.products)

    def solved(self) -> tuple[np.ndarray, np.ndarray, int]:
        """(X'X)^-1 of the design less its stratum means, the coefficients, and how many columns say something of
        their own; coefficients that the others make up are shared out."""
        means = self.sums / np.maximum(self.counts, 1)[:, None]
        within = self.products - means[:, :-1].T @ self.sums
        left = np.diag(within[:, :-1])
        is_known = left > NOTHING * np.maximum(np.diag(self.products), 1)
        scale = np.where(is_known, np.sqrt(np.where(is_known, left, 1)), np.inf)
        values, vectors = np.linalg.eigh(within[:, :-1] / np.outer(scale, scale))
        kept = values > RCOND * max(1.0, float(values.max(initial=0.0)))
        inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
        bread = inverse / np.outer(scale, scale)
        return bread, bread @ within[:, -1], int(kept.sum())

    def fit(self, n_levels: int) -> Fit:
        """Least squares of the outcome on design and strata."""
        bread, beta, _ = self.solved()
        means = self.sums / np.maximum(self.counts, 1)[:, None]
        directions = np.column_stack([beta, bread[:, :n_levels]])
        is_known = np.diag(bread)[:n_levels] > 0
        return Fit(beta, is_known, directions, means[:, :-1] @ directions, means[:, -1])


@dataclass(frozen=True, eq=False)
class Fit:
    """Coefficients, and what the influence of a row takes: `directions` are the coefficients and the bread's columns
    of the levels [width, 1 + levels], `of_strata` the strata's means along them."""

    beta: np.ndarray
    is_known: np.ndarray
    directions: np.ndarray
    of_strata: np.ndarray
    outcome_means: np.ndarray

    def covariance(
        self, columns: Columns, y: np.ndarray, strata: np.ndarray, clusters: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """Sum over clusters of u u', with u the summed influence (residual times weight in each level's coefficient)
        of a cluster's rows, [levels, levels]; and the number of clusters. A second pass over the rows.
        """
        k = self.directions.shape[1] - 1
        index, n_clusters = _numbered(clusters)
        is_each = n_clusters == len(y)
        found, summed = np.zeros((k, k)), np.zeros((0 if is_each else n_clusters, k))
        for rows, design in columns.blocks():
            along = design @ self.directions - self.of_strata[strata[rows]]
            influence = (y[rows] - self.outcome_means[strata[rows]] - along[:, 0])[:, None] * along[:, 1:]
            if is_each:
                found += influence.T @ influence
            else:
                np.add.at(summed, index[rows], influence)
        return (found if is_each else summed.T @ summed), n_clusters


def _numbered(clusters: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers from 0 for the clusters, and how many there are; rising clusters are all different as they are."""
    if (np.diff(clusters) > 0).all():
        return clusters, len(clusters)
    known, index = np.unique(clusters, return_inverse=True)
    return index.reshape(-1), len(known)
