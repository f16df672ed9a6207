"""Rows of factorial designs in cells, and least squares of an outcome on them, for many designs at once.

    y = stratum + theta[cell] + covariates gamma

A factor is absent, present, or a rung in between; a design of k factors has 3^k cells. With everything taken less its
stratum mean, B the covariates, C the indicators of a design's cells and S = C'C - C'B (B'B)^-1 B'C:

    theta = S^- (C'y - C'B (B'B)^-1 B'y),   interaction = c'theta, c = (-1)^(k - present) at cells without in-between
    variance = sum over clusters of (sum of e r)^2,   e the residuals,   r = (C - B (B'B)^-1 B'C) S^- c

B'B is that of all designs. Only C'y, B'y and e depend on the outcome, so that the next feature costs two products with
the covariates. Residuals and r are in single precision: an error needs no more; theta is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from mechscope.experiments.observing.moments import Columns, Moments, outcome_sums

__all__ = ["N_LEVELS", "AdjustedRows", "CellMoments", "CellRows", "CellSolution", "Outcome", "contrast_of"]

N_LEVELS = 3
"""Of a factor: absent, present, and a rung in between."""
BLOCK_ROWS = 4096
RCOND = 1e-10
ESTIMABLE = 1e-6
"""Share of the contrast that may lie outside what the rows tell and still be rounding."""

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


def contrast_of(order: int) -> np.ndarray:
    """The interaction of order k as weights of the 3^k cells; cells with a factor in between have 0."""
    found = np.ones(1)
    for _ in range(order):
        found = np.concatenate([weight * found for weight in (-1.0, 1.0, 0.0)])
    return found


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
        base = Moments(
            self.base.counts + other.base.counts,
            self.base.sums + other.base.sums,
            self.base.products + other.base.products,
        )
        return CellMoments(base, self.cell_counts + other.cell_counts, self.cell_sums + other.cell_sums)


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
                by_code += sparse.csc_array((np.ones(len(block)), codes[rows], np.arange(len(block) + 1)),
                                            shape=(n, len(block))) @ block  # fmt: skip
            by_stratum = np.bincount(among.strata * n + codes, minlength=n_strata * n).reshape(-1, n)
            for design, of_codes in zip(designs, cells, strict=True):
                owners = sparse.csc_array((np.ones(n), of_codes, np.arange(n + 1)), shape=(c, n))
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


class CellSolution:
    """Least squares of designs with these moments, but for the outcome."""

    def __init__(self, moments: CellMoments, order: int) -> None:
        self.moments, self.contrast = moments, contrast_of(order)
        self.base_inverse, _ = moments.base.inverse()
        means = moments.base.means
        self.shares = moments.cell_counts / np.maximum(moments.base.counts, 1)[:, None]
        # within strata: covariates by cells [designs, m, cells], and cells by cells
        self.cross = moments.cell_sums.transpose(0, 2, 1) - means.T @ moments.cell_counts
        own = -np.swapaxes(self.shares, 1, 2) @ moments.cell_counts
        places = np.arange(own.shape[1])
        own[:, places, places] += moments.cell_counts.sum(axis=1)
        schur = own - np.swapaxes(self.cross, 1, 2) @ self.base_inverse @ self.cross
        self.inverse = np.stack([_pseudo_inverse(one, held) for one, held in zip(schur, own, strict=True)])
        self.influence = self.inverse @ self.contrast
        told = np.einsum("pij,pj->pi", schur, self.influence)
        self.is_known = np.abs(told - self.contrast).max(axis=1) < ESTIMABLE
        self.along = np.einsum("ij,pjc,pc->pi", self.base_inverse, self.cross, self.influence)

    def fit(self, outcome: Outcome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Interactions [designs], means of cells [designs, cells], coefficients of the covariates [designs, m]."""
        base = self.moments.base
        with_columns = outcome.by_column - base.means.T @ outcome.by_stratum
        with_cells = outcome.by_cell - np.einsum("psc,s->pc", self.shares, outcome.by_stratum)
        with_cells -= np.einsum("pjc,j->pc", self.cross, self.base_inverse @ with_columns)
        theta = np.einsum("pij,pj->pi", self.inverse, with_cells)
        gamma = (with_columns - np.einsum("pjc,pc->pj", self.cross, theta)) @ self.base_inverse
        return theta @ self.contrast, theta, gamma

    def squares(
        self,
        parts: Sequence[tuple[CellRows, np.ndarray]],
        by_stratum: np.ndarray,
        theta: np.ndarray,
        gamma: np.ndarray,
        clusters: np.ndarray | None,
    ) -> np.ndarray:
        """Sum over clusters of the squared sums of residual times influence, [designs].

        Args:
            parts: rows and their outcomes, whose moments these are together.
            by_stratum: sums of the outcomes. theta, gamma: as fitted.
            clusters: of every row looked at, integers from 0; None where each row is one.
        """
        base, (n_designs, n_strata, c) = self.moments.base, self.moments.cell_counts.shape
        residual = self._tables(theta, gamma) + (by_stratum / np.maximum(base.counts, 1))[:, None]
        tables = [
            table.reshape(-1).astype(np.float32) for table in (residual, self._tables(self.influence, -self.along))
        ]
        directions = np.concatenate([gamma, -self.along]).astype(np.float32)
        first = (n_strata * c * np.arange(n_designs))[:, None]
        found = np.zeros(n_designs)
        summed = None if clusters is None else np.zeros((int(clusters.max()) + 1, n_designs))
        for part, y in parts:
            among = part.among
            for start in range(0, len(y), BLOCK_ROWS):
                rows = slice(start, start + BLOCK_ROWS)
                along = directions @ among.covariates[rows].T.astype(np.float32)
                at = cells_of(part.levels[:, rows], part.designs) + (among.strata[rows] * c + first)
                moved = y[rows].astype(np.float32) - tables[0].take(at)
                moved -= along[:n_designs]
                moved *= tables[1].take(at) + along[n_designs:]
                if clusters is None or summed is None:
                    found += np.einsum("pb,pb->p", moved, moved)
                else:
                    np.add.at(summed, clusters[among.rows[rows]], moved.T)
        return found if summed is None else np.square(summed).sum(axis=0)

    def _tables(self, of_cells: np.ndarray, along: np.ndarray) -> np.ndarray:
        """What a row's cell adds, less the mean of all that its stratum's rows have, [designs, strata, cells]."""
        means = np.einsum("psc,pc->ps", self.shares, of_cells) + along @ self.moments.base.means.T
        found: np.ndarray = of_cells[:, None, :] - means[:, :, None]
        return found


def _pseudo_inverse(schur: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Of what covariates leave of cells [cells, cells], of which the strata and covariates may determine some."""
    size = max(1.0, float(np.diag(own).max(initial=0.0)))
    values, vectors = np.linalg.eigh(schur)
    kept = values > RCOND * size
    found: np.ndarray = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return found
