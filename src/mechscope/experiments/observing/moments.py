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

__all__ = ["BLOCK_ROWS", "RCOND", "Columns", "Moments", "outcome_sums", "owners_of"]

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
    """Of the design of n rows in strata, each row with a weight.

    Attributes:
        counts: weight of each stratum [strata]. sums: of the columns, [strata, width].
        products: of the columns, not centred, [width, width].
    """

    counts: np.ndarray
    sums: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, columns: Columns, strata: np.ndarray, n_strata: int, *, weights: np.ndarray | None = None) -> Moments:
        """One pass over the rows, each of weight 1 by default.

        An indicator is never written out: its sums and products are sums over the rows of its level.
        """
        k, m, width = columns.n_levels, columns.covariates.shape[1], columns.width
        by_stratum, by_level, together = np.zeros((n_strata, m)), np.zeros((k + 1, m)), np.zeros((m, m))
        place = np.where(columns.place < 0, k, columns.place)
        for rows, block in columns.blocks():
            weighted = block if weights is None else block * weights[rows, None]
            together += weighted.T @ block
            for sums, owners in ((by_stratum, strata[rows]), (by_level, place[rows]))[: 2 if k else 1]:
                sums += owners_of(owners, len(sums)) @ weighted
        counts = np.bincount(strata, weights=weights, minlength=n_strata)
        cells = np.bincount(strata * (k + 1) + place, weights=weights, minlength=n_strata * (k + 1))
        levels = cells.reshape(n_strata, k + 1)[:, :k]
        products = np.zeros((width, width))
        products[:k, :k] = np.diag(levels.sum(axis=0))
        products[:k, k:], products[k:, :k] = by_level[:k], by_level[:k].T
        products[k:, k:] = together
        return cls(counts, np.column_stack([levels, by_stratum]), products)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.counts + other.counts, self.sums + other.sums, self.products + other.products)

    @property
    def means(self) -> np.ndarray:
        """Of the columns in each stratum, [strata, width]."""
        found: np.ndarray = self.sums / np.maximum(self.counts, 1)[:, None]
        return found

    def inverse(self) -> tuple[np.ndarray, int]:
        """(X'X)^-1 of the columns less their stratum means, [width, width], and how many columns say something of
        their own; coefficients that the others make up are shared out."""
        within = self.products - self.means.T @ self.sums
        left = np.diag(within)
        is_known = left > NOTHING * np.maximum(np.diag(self.products), 1)
        scale = np.where(is_known, np.sqrt(np.where(is_known, left, 1)), np.inf)
        values, vectors = np.linalg.eigh(within / np.outer(scale, scale))
        kept = values > RCOND * max(1.0, float(values.max(initial=0.0)))
        inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
        return inverse / np.outer(scale, scale), int(kept.sum())


def outcome_sums(columns: Columns, y: np.ndarray, strata: np.ndarray, n_strata: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of an outcome [n] in each stratum, and its products with the columns [width]; rows at 0 are not read."""
    k = columns.n_levels
    at = np.flatnonzero(y)
    outcome, covariates = y[at], columns.covariates
    with_covariates = np.zeros(covariates.shape[1])
    for start in range(0, len(at), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        with_covariates += outcome[part] @ covariates[at[part]].astype(np.float64, copy=False)
    place = columns.place[at]
    in_level = np.bincount(np.where(place < 0, k, place), weights=outcome, minlength=k + 1)[:k]
    by_stratum = np.bincount(strata[at], weights=outcome, minlength=n_strata)
    return by_stratum, np.concatenate([in_level, with_covariates])


def owners_of(owners: np.ndarray, n: int) -> sparse.csc_array:
    """Which of n owners each row belongs to, a matrix [n, rows] to sum rows with."""
    return sparse.csc_array((np.ones(len(owners)), owners, np.arange(len(owners) + 1)), shape=(n, len(owners)))
