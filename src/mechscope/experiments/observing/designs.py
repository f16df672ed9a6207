"""What a regression needs of its rows besides the outcome, worked out once for any number of outcomes.

Sums and products of the design, their inverse, and the design along it do not depend on what is regressed: the same
rows, levels and confounders serve every feature. `KeptDesigns` keeps them by their content.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mechscope.core.kept import Kept, content_key
from mechscope.experiments.observing.moments import Columns, Moments, outcome_sums

__all__ = ["Design", "Fit", "KeptDesigns"]

MOST_ALONG, MOST_DOUBLE = 1 << 24, 1 << 20
"""Numbers of a design along its directions that are kept with it, up to 64 MB: beyond a million in single precision,
which is enough for errors; still more are worked out a block at a time."""


class Design:
    """Rows of a regression on levels and covariates within strata.

    Args:
        columns: levels and covariates. strata: integers from 0, [n]. n_strata: how many.
        n_tested: leading columns whose coefficients are asked for; by default the levels.
    """

    def __init__(self, columns: Columns, strata: np.ndarray, n_strata: int, *, n_tested: int | None = None) -> None:
        self.columns, self.strata, self.n_strata = columns, strata, n_strata
        self.n_tested = columns.n_levels if n_tested is None else n_tested

    @cached_property
    def moments(self) -> Moments:
        """Counts, sums and products."""
        return Moments.of(self.columns, self.strata, self.n_strata)

    @cached_property
    def solved(self) -> tuple[np.ndarray, int]:
        """(X'X)^-1 of the columns less their stratum means, and how many of them say something of their own."""
        return self.moments.inverse()

    @property
    def directions(self) -> np.ndarray:
        """The columns of the inverse that belong to what is tested, [width, tested]."""
        return self.solved[0][:, : self.n_tested]

    @cached_property
    def along(self) -> np.ndarray | None:
        """Rows less their stratum means, along `directions`: [n, tested]; None where those are too many to keep."""
        if self.n_tested * len(self.strata) > MOST_ALONG:
            return None
        found = np.empty((len(self.strata), self.n_tested), self._kept_type)
        means = self.moments.means @ self.directions
        for rows, block in self.columns.blocks():
            found[rows] = self.columns.along(self.directions, rows, block) - means[self.strata[rows]]
        return found

    @property
    def _kept_type(self) -> type[np.floating[Any]]:
        return np.float64 if self.n_tested * len(self.strata) <= MOST_DOUBLE else np.float32

    @property
    def n_bytes(self) -> int:
        """Of the rows, with what may be kept along the directions."""
        columns, n_along = self.columns, self.n_tested * len(self.strata)
        along = np.dtype(self._kept_type).itemsize * n_along if n_along <= MOST_ALONG else 0
        return int(columns.covariates.nbytes + columns.place.nbytes + self.strata.nbytes + along)

    def fit(self, y: np.ndarray) -> Fit:
        """Least squares of an outcome [n] on columns and strata. Cost: a pass over the rows that are not 0."""
        by_stratum, by_column = outcome_sums(self.columns, y, self.strata, self.n_strata)
        beta = self.solved[0] @ (by_column - self.moments.means.T @ by_stratum)
        return Fit(self, y, beta, by_stratum / np.maximum(self.moments.counts, 1))


@dataclass(frozen=True, eq=False)
class Fit:
    """Least squares of an outcome on a design: coefficients [width], and the outcome's mean in each stratum."""

    design: Design
    y: np.ndarray
    beta: np.ndarray
    outcome_means: np.ndarray

    @property
    def is_known(self) -> np.ndarray:
        """Which of what is tested has a coefficient, boolean [tested]."""
        return np.asarray(np.diag(self.design.directions) > 0)

    def covariance(self, clusters: np.ndarray) -> tuple[np.ndarray, int]:
        """Sum over clusters of u u', with u the summed influence (residual times weight in each coefficient tested)
        of a cluster's rows, [tested, tested]; and the number of clusters.

        Cost: a pass over the rows; a second, of the covariates alone, where half as many are tested as there are
        covariates and each row is a cluster of its own.
        """
        design, columns = self.design, self.design.columns
        k, strata = design.n_tested, design.strata
        index, n_clusters = _numbered(clusters)
        is_each = n_clusters == len(self.y)
        if is_each and 2 * k > columns.covariates.shape[1]:
            return self._of_single_rows(), n_clusters
        directions = self.beta[:, None] if design.along is not None else np.column_stack([self.beta, design.directions])
        of_strata = design.moments.means @ directions
        found, summed = np.zeros((k, k)), np.zeros((0 if is_each else n_clusters, k))
        for rows, block in columns.blocks():
            along = columns.along(directions, rows, block) - of_strata[strata[rows]]
            residual = self.y[rows] - self.outcome_means[strata[rows]] - along[:, 0]
            others = along[:, 1:] if design.along is None else design.along[rows]
            influence = residual.astype(others.dtype)[:, None] * others
            if is_each:
                found += influence.T @ influence
            else:
                np.add.at(summed, index[rows], influence)
        return (found if is_each else summed.T @ summed), n_clusters

    def _of_single_rows(self) -> np.ndarray:
        """The same from sums of e^2 (x - m)(x - m)' along the directions: e residual, m the mean of the stratum."""
        design, columns, strata = self.design, self.design.columns, self.design.strata
        beta, means = self.beta[:, None], design.moments.means
        residuals = self.y - self.outcome_means[strata] + (means @ beta)[strata, 0]
        for rows, block in columns.blocks():
            residuals[rows] -= columns.along(beta, rows, block)[:, 0]
        squared = Moments.of(columns, strata, design.n_strata, weights=np.square(residuals))
        bread, of_strata = design.directions, means @ design.directions
        across = of_strata.T @ (squared.sums @ bread)
        within: np.ndarray = bread.T @ squared.products @ bread - across - across.T
        within += (of_strata * squared.counts[:, None]).T @ of_strata
        return within


@dataclass(frozen=True, eq=False)
class KeptDesigns:
    """Where the designs of the same confounders and rows are kept.

    Attributes:
        kept: of one corpus. names: of the confounders, and of what else is a covariate. rows: the key of the rows.
    """

    kept: Kept[Design]
    names: tuple[str, ...]
    rows: Hashable

    def of(self, levels: np.ndarray, make: Callable[[], Design]) -> Design:
        """The design with these levels (what tells designs of the same rows apart: any array), kept or made."""
        return self.kept.get((self.names, self.rows, content_key(levels)), make, lambda design: design.n_bytes)


def _numbered(clusters: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers from 0 for the clusters, and how many there are; rising clusters are all different as they are."""
    if (np.diff(clusters) > 0).all():
        return clusters, len(clusters)
    known, index = np.unique(clusters, return_inverse=True)
    return index.reshape(-1), len(known)
