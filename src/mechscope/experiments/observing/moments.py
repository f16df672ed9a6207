"""Sums and products of columns within strata, a block of rows at a time: what a regression needs of its rows.

With S the sums of a stratum and c its rows, the products of columns less their stratum means are X'X - sum S S' / c.
Columns are small integers (places on ladders, presence) kept in bytes, so that blocks of a million rows are made, used
and overwritten in the cache, and products of integers lose no digit. Indicators of levels are never written out: their
sums and products are sums over the rows of a level.
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
        """Rows and their covariates, float64 [block, m]; the next block overwrites them."""
        n = len(self.place)
        buffer = np.empty((min(BLOCK_ROWS, n), self.covariates.shape[1]))
        for start in range(0, n, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, n))
            block = buffer[: rows.stop - start]
            block[:] = self.covariates[rows]
            yield rows, block

    def along(self, directions: np.ndarray, rows: slice, block: np.ndarray) -> np.ndarray:
        """The design of a block's rows times directions [width, d], float64 [block, d]."""
        k = self.n_levels
        # one more row, which place -1 takes
        by_level = np.concatenate([directions[:k], np.zeros((1, directions.shape[1]))])
        found: np.ndarray = block @ directions[k:]
        found += by_level[self.place[rows]]
        return found


@dataclass(frozen=True, eq=False)
class Moments:
    """Of n rows in strata, each with a weight.

    Attributes:
        counts: weight of each stratum [strata]. sums: of design and outcome, [strata, width + 1].
        products: of design and outcome, not centred, [width, width + 1].
    """

    counts: np.ndarray
    sums: np.ndarray
    products: np.ndarray

    @classmethod
    def of(
        cls, columns: Columns, y: np.ndarray, strata: np.ndarray, n_strata: int, *, weights: np.ndarray | None = None
    ) -> Moments:
        """One pass over the rows, each of weight 1 by default.

        An indicator is never written out: its sums and products are sums over the rows of its level.
        """
        k, m, width = columns.n_levels, columns.covariates.shape[1], columns.width
        given = np.ones(len(y)) if weights is None else weights
        by_stratum, by_level, together = np.zeros((n_strata, m)), np.zeros((k + 1, m)), np.zeros((m, m))
        with_outcome = np.zeros(m)
        place = np.where(columns.place < 0, k, columns.place)
        for rows, block in columns.blocks():
            with_outcome += (y[rows] * given[rows]) @ block
            weighted = block if weights is None else block * given[rows, None]
            together += weighted.T @ block
            n = len(block)
            for sums, owners in ((by_stratum, strata[rows]), (by_level, place[rows]))[: 2 if k else 1]:
                owner = sparse.csc_array((np.ones(n), owners, np.arange(n + 1)), shape=(len(sums), n))
                sums += owner @ weighted
        outcome = y * given
        counts = np.bincount(strata, weights=weights, minlength=n_strata)
        cells = np.bincount(strata * (k + 1) + place, weights=weights, minlength=n_strata * (k + 1))
        in_level = np.bincount(place, weights=outcome, minlength=k + 1)[:k]
        levels = cells.reshape(n_strata, k + 1)[:, :k]
        sums = np.column_stack([levels, by_stratum, np.bincount(strata, weights=outcome, minlength=n_strata)])
        products = np.zeros((width, width + 1))
        products[:k, :k] = np.diag(levels.sum(axis=0))
        products[:k, k:width], products[k:, :k] = by_level[:k], by_level[:k].T
        products[k:, k:width] = together
        products[:, width] = np.concatenate([in_level, with_outcome])
        return cls(counts, sums, products)

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
        of a cluster's rows, [levels, levels]; and the number of clusters. A second pass over the rows; a third, of the
        covariates alone, where levels are half as many as covariates and each row is a cluster of its own.
        """
        k = self.directions.shape[1] - 1
        index, n_clusters = _numbered(clusters)
        is_each = n_clusters == len(y)
        if is_each and 2 * k > columns.covariates.shape[1]:
            return self._of_single_rows(columns, y, strata), n_clusters
        found, summed = np.zeros((k, k)), np.zeros((0 if is_each else n_clusters, k))
        for rows, block in columns.blocks():
            along = columns.along(self.directions, rows, block) - self.of_strata[strata[rows]]
            influence = (y[rows] - self.outcome_means[strata[rows]] - along[:, 0])[:, None] * along[:, 1:]
            if is_each:
                found += influence.T @ influence
            else:
                np.add.at(summed, index[rows], influence)
        return (found if is_each else summed.T @ summed), n_clusters

    def _of_single_rows(self, columns: Columns, y: np.ndarray, strata: np.ndarray) -> np.ndarray:
        """The same from sums of e^2 (x - m)(x - m)' along the directions: e residual, m the mean of the stratum."""
        residuals = y - self.outcome_means[strata] + self.of_strata[strata, 0]
        for rows, block in columns.blocks():
            residuals[rows] -= columns.along(self.directions[:, :1], rows, block)[:, 0]
        squared = Moments.of(columns, np.zeros(len(y)), strata, len(self.of_strata), weights=np.square(residuals))
        bread, means = self.directions[:, 1:], self.of_strata[:, 1:]
        across = means.T @ (squared.sums[:, :-1] @ bread)
        within: np.ndarray = bread.T @ squared.products[:, :-1] @ bread - across - across.T
        within += (means * squared.counts[:, None]).T @ means
        return within


def _numbered(clusters: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers from 0 for the clusters, and how many there are; rising clusters are all different as they are."""
    if (np.diff(clusters) > 0).all():
        return clusters, len(clusters)
    known, index = np.unique(clusters, return_inverse=True)
    return index.reshape(-1), len(known)
