"""Rows of factorial designs in cells, and their sums and products, for many designs at once.

A factor is absent, present, or a rung in between; a design of k factors has 3^k cells. Designs share strata,
covariates and mostly factors: rows are summed by the combination of all factors once, and combinations by the cells of
each design.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mechscope.experiments.observing.moments import Columns, Moments, outcome_sums, owners_of

__all__ = ["N_LEVELS", "AdjustedRows", "CellMoments", "CellRows", "Outcome", "cells_of"]

N_LEVELS = 3
"""Of a factor: absent, present, and a rung in between."""
MOST_TOGETHER = 8
"""Factors of designs whose rows are summed together: 3^8 combinations."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Of an outcome: sums by stratum, products with the covariates; by design and cell its sums, how many rows are
    above 0, and the sums of its squares."""

    by_stratum: np.ndarray
    by_column: np.ndarray
    by_cell: np.ndarray
    n_active: np.ndarray
    squares: np.ndarray

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.by_stratum + other.by_stratum,
            self.by_column + other.by_column,
            self.by_cell + other.by_cell,
            self.n_active + other.n_active,
            self.squares + other.squares,
        )


@dataclass(frozen=True, eq=False)
class CellMoments:
    """Sums and products of rows, by stratum and cell.

    Attributes:
        base: of strata and covariates. cell_counts: rows, [designs, strata, cells].
        cell_sums: of covariates, [designs, cells, m].
    """

    base: Moments
    cell_counts: np.ndarray
    cell_sums: np.ndarray

    def __add__(self, other: CellMoments) -> CellMoments:
        return CellMoments(
            self.base + other.base, self.cell_counts + other.cell_counts, self.cell_sums + other.cell_sums
        )


@dataclass(frozen=True, eq=False)
class AdjustedRows:
    """Some rows with what is adjusted for.

    Attributes:
        rows: which of the rows looked at, int64 [n]. covariates: small integers [n, m]. strata: from 0, [n].
        n_strata: how many.
    """

    rows: np.ndarray
    covariates: np.ndarray
    strata: np.ndarray
    n_strata: int

    @property
    def n_bytes(self) -> int:
        """Of what is kept of the rows."""
        return int(self.rows.nbytes + self.covariates.nbytes + self.strata.nbytes)

    @cached_property
    def columns(self) -> Columns:
        """The covariates."""
        return Columns(np.full(len(self.rows), -1, np.int8), 0, self.covariates)

    @cached_property
    def moments(self) -> Moments:
        """Sums and products of the covariates. One pass over the rows."""
        return Moments.of(self.columns, self.strata, self.n_strata)


@dataclass(frozen=True, eq=False)
class CellRows:
    """Rows with the levels of factors that they have.

    Attributes:
        among: the rows. levels: 0 absent, 1 present, 2 in between, uint8 [factors, n].
        designs: indices of the factors of each design, [designs, order].
    """

    among: AdjustedRows
    levels: np.ndarray
    designs: np.ndarray

    @property
    def n_cells(self) -> int:
        """Of a design, those that no row is in among them."""
        return int(N_LEVELS ** self.designs.shape[1])

    @property
    def n_bytes(self) -> int:
        """Of the levels, and the rows' combinations of them."""
        return int(self.levels.nbytes) + sum(int(codes.nbytes) for *_, codes in self.together)

    @cached_property
    def together(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Designs that share a few factors: (designs, cell of each design by combination, combination of each row).

        Rows are summed by the combination of all those factors once, and combinations by the cells of each design.
        """
        found, waiting = [], list(range(len(self.designs)))
        while waiting:
            factors: set[int] = set()
            taken: list[int] = []
            for design in waiting:
                joined = factors | set(self.designs[design].tolist())
                if not taken or len(joined) <= MOST_TOGETHER:
                    factors, taken = joined, [*taken, design]
            waiting = [design for design in waiting if design not in taken]
            order = sorted(factors)
            codes = np.zeros(self.levels.shape[1], np.int32)
            for at, factor in enumerate(order):
                codes += N_LEVELS**at * self.levels[factor].astype(np.int32)
            every = np.stack(np.unravel_index(np.arange(N_LEVELS ** len(order)), (N_LEVELS,) * len(order), order="F"))
            levels = np.zeros((len(self.levels), every.shape[1]), np.intp)
            levels[order] = every
            found.append((np.array(taken), cells_of(levels, self.designs[taken]), codes))
        return found

    @cached_property
    def moments(self) -> CellMoments:
        """What does not depend on an outcome. One pass over the rows."""
        among, c = self.among, self.n_cells
        n_designs, m, n_strata = len(self.designs), among.covariates.shape[1], among.n_strata
        counts, sums = np.zeros((n_designs, n_strata, c)), np.zeros((n_designs, c, m))
        for designs, cells, codes in self.together:
            n = cells.shape[1]
            by_code = np.zeros((n, m))
            for rows, block in among.columns.blocks():
                by_code += owners_of(codes[rows], n) @ block
            by_stratum = np.bincount(among.strata * n + codes, minlength=n_strata * n).reshape(-1, n)
            for design, of_codes in zip(designs, cells, strict=True):
                owners = owners_of(of_codes, c)
                sums[design], counts[design] = owners @ by_code, (owners @ by_stratum.T).T
        return CellMoments(among.moments, counts, sums)

    def outcome(self, y: np.ndarray) -> Outcome:
        """What a fit takes of an outcome [n], not below 0."""
        by_stratum, by_column = outcome_sums(self.among.columns, y, self.among.strata, self.among.n_strata)
        at = np.flatnonzero(y)
        weights = (y[at], np.ones(len(at)), np.square(y[at]))
        by_cell = np.zeros((len(weights), len(self.designs), self.n_cells))
        for designs, cells, codes in self.together:
            here = codes[at].astype(np.intp)
            sums = [np.bincount(here, weight, minlength=cells.shape[1]) for weight in weights]
            for design, of_codes in zip(designs, cells, strict=True):
                by_cell[:, design] = [np.bincount(of_codes, one, minlength=self.n_cells) for one in sums]
        return Outcome(by_stratum, by_column, *by_cell)


def cells_of(levels: np.ndarray, designs: np.ndarray) -> np.ndarray:
    """The cells of designs [designs, order] for levels of factors [factors, n]: [designs, n]."""
    found: np.ndarray = levels[designs[:, 0]]
    for at in range(1, designs.shape[1]):
        found = found + levels[designs[:, at]] * levels.dtype.type(N_LEVELS**at)
    return found
