"""Least squares of an outcome on the cells of factorial designs, for many designs at once.

    y = stratum + theta[cell] + covariates gamma

With everything taken less its stratum mean, B the covariates, C the indicators of a design's cells and
S = C'C - C'B (B'B)^-1 B'C:

    theta = S^- (C'y - C'B (B'B)^-1 B'y),   interaction = c'theta, c = (-1)^(k - present) at cells without in-between
    variance = sum over clusters of (sum of e r)^2,   e the residuals,   r = (C - B (B'B)^-1 B'C) S^- c

B'B is that of all designs. Only C'y, B'y and e depend on the outcome, so that the next feature costs two products with
the covariates. Residuals and r are in single precision: an error needs no more; theta is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.experiments.interactions.cell_rows import CellMoments, CellRows, Outcome, cells_of
from mechscope.experiments.observing.moments import BLOCK_ROWS, RCOND

__all__ = ["CellFit", "CellSolution", "contrast_of", "squared_influences"]

ESTIMABLE = 1e-6
"""Share of the contrast that may lie outside what the rows tell and still be rounding."""


def contrast_of(order: int) -> np.ndarray:
    """The interaction of order k as weights of the 3^k cells; cells with a factor in between have 0."""
    found = np.ones(1)
    for _ in range(order):
        found = np.concatenate([weight * found for weight in (-1.0, 1.0, 0.0)])
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

    def fit(self, outcome: Outcome) -> CellFit:
        """Least squares of an outcome."""
        base = self.moments.base
        with_columns = outcome.by_column - base.means.T @ outcome.by_stratum
        with_cells = outcome.by_cell - np.einsum("psc,s->pc", self.shares, outcome.by_stratum)
        with_cells -= np.einsum("pjc,j->pc", self.cross, self.base_inverse @ with_columns)
        theta = np.einsum("pij,pj->pi", self.inverse, with_cells)
        gamma = (with_columns - np.einsum("pjc,pc->pj", self.cross, theta)) @ self.base_inverse
        means = (outcome.by_stratum / np.maximum(base.counts, 1))[:, None]
        residual, influence = self._tables(theta, gamma) + means, self._tables(self.influence, -self.along)
        return CellFit(
            values=theta @ self.contrast,
            residual=residual.reshape(-1).astype(np.float32),
            influence=influence.reshape(-1).astype(np.float32),
            directions=np.concatenate([gamma, -self.along]).astype(np.float32),
        )

    def _tables(self, of_cells: np.ndarray, along: np.ndarray) -> np.ndarray:
        """What a row's cell adds, less the mean of all that its stratum's rows have, [designs, strata, cells]."""
        means = np.einsum("psc,pc->ps", self.shares, of_cells) + along @ self.moments.base.means.T
        found: np.ndarray = of_cells[:, None, :] - means[:, :, None]
        return found


@dataclass(frozen=True, eq=False)
class CellFit:
    """Least squares of an outcome on designs.

    Attributes:
        values: the interactions, [designs].
        residual, influence: by design, stratum and cell, what a row's outcome is taken from, and what its influence on
            the interaction has beside the covariates' part, float32 [designs x strata x cells].
        directions: of the covariates, for residuals and for influences, float32 [2 designs, m].
    """

    values: np.ndarray
    residual: np.ndarray
    influence: np.ndarray
    directions: np.ndarray


def squared_influences(
    parts: Sequence[tuple[CellRows, np.ndarray]], fits: Sequence[Sequence[CellFit]], clusters: np.ndarray | None
) -> list[np.ndarray]:
    """Sum over clusters of the squared sums of residual times influence, [designs], of each fit in order.

    Args:
        parts: rows and their outcomes. fits: those that each part's rows are in; one may be of several parts.
        clusters: of every row looked at, integers from 0; None where each row is one.

    Cost: a product of the covariates of each row with two columns a fit and design.
    """
    order = list(dict.fromkeys(id(fit) for of_part in fits for fit in of_part))
    n_designs = len(fits[0][0].values)
    n_clusters = 0 if clusters is None else int(clusters.max()) + 1
    found, summed = np.zeros((len(order), n_designs)), np.zeros((len(order), n_clusters, n_designs))
    for (part, y), of_part in zip(parts, fits, strict=True):
        among, n_tables = part.among, len(of_part[0].residual) // n_designs
        directions = np.concatenate([fit.directions for fit in of_part])
        first, which = (n_tables * np.arange(n_designs))[:, None], [order.index(id(fit)) for fit in of_part]
        for start in range(0, len(y), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            along = directions @ among.covariates[rows].T.astype(np.float32)
            of_fits = iter(along.reshape(-1, n_designs, along.shape[1]))
            at = cells_of(part.levels[:, rows], part.designs) + (among.strata[rows] * part.n_cells + first)
            for at_fit, fit in zip(which, of_part, strict=True):
                moved = y[rows].astype(np.float32) - fit.residual.take(at)
                moved -= next(of_fits)
                moved *= fit.influence.take(at) + next(of_fits)
                if clusters is None:
                    found[at_fit] += np.einsum("pb,pb->p", moved, moved)
                else:
                    np.add.at(summed[at_fit], clusters[among.rows[rows]], moved.T)
    return list(found if clusters is None else np.square(summed).sum(axis=1))


def _pseudo_inverse(schur: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Of what covariates leave of cells [cells, cells], of which the strata and covariates may determine some."""
    size = max(1.0, float(np.diag(own).max(initial=0.0)))
    values, vectors = np.linalg.eigh(schur)
    kept = values > RCOND * size
    found: np.ndarray = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return found
