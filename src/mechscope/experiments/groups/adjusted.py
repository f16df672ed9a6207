"""Means of groups at equal covariates, for many rows: least squares by stratum sums, in two passes over blocks.

With a the group means at the mean covariates, theta_g = a_g - mean of y. A row i with residual e_i moves it by
e_i (1[i in g] / n_g - 1 / n - d_g' B x_i), x_i the covariates less their group's mean, B = (X'X)^-1 of those, and d_g
the group's mean covariates less the mean of all. The variance is the sum of the squares of that, times n / (n - k)
(HC1); multiplied out it needs sums of e^2, e^2 x and e^2 x x' alone. The estimates and errors are those of
`stats.adjusted_group_effects`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mechscope.experiments.observing.designs import Design, KeptDesigns
from mechscope.experiments.observing.moments import Columns
from mechscope.stats.distributions import student_quantile

__all__ = ["AdjustedGroups", "adjusted_groups"]


@dataclass(frozen=True, eq=False)
class AdjustedGroups:
    """Mean of each group less the mean of all rows, at equal covariates, with 95 % ends; arrays [groups]."""

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


def adjusted_groups(
    values: np.ndarray, place: np.ndarray, covariates: np.ndarray, *, kept: KeptDesigns | None = None
) -> AdjustedGroups:
    """Adjust groups for covariates.

    Args:
        values: float64 [n], rows independent. place: group of each row, 0 to groups - 1, each with a row, [n].
        covariates: numbers [n, m]; what some make up of others counts once.
        kept: where what does not depend on the values is kept, for these covariates with the groups as strata.

    Cost: two passes over n (m + m^2) numbers, 4,096 rows at a time.
    """
    n, n_groups, m = len(values), int(place.max()) + 1, covariates.shape[1]

    def make() -> Design:
        return Design(Columns(np.full(n, -1, np.int8), 0, covariates), place, n_groups)

    design = make() if kept is None else kept.of(place, make)
    fit, moments, (bread, rank) = design.fit(values), design.moments, design.solved
    means, slope = moments.means, fit.beta
    apart = means - moments.sums.sum(axis=0) / n
    squares, by_group, by_pair = np.zeros(n_groups), np.zeros((n_groups, m)), np.zeros((m, m))
    for rows, block in design.columns.blocks():
        block -= means[place[rows]]
        residual = values[rows] - fit.outcome_means[place[rows]] - block @ slope
        moved = block * residual[:, None]
        by_pair += moved.T @ moved
        squares += np.bincount(place[rows], weights=residual**2, minlength=n_groups)
        owner = sparse.csc_array((residual, place[rows], np.arange(len(block) + 1)), shape=(n_groups, len(block)))
        by_group += owner @ moved
    along = apart @ bread
    counts = moments.counts
    variance = squares * (1 / counts**2 - 2 / (counts * n)) + squares.sum() / n**2
    variance -= 2 * (along * (by_group / counts[:, None] - by_group.sum(axis=0) / n)).sum(axis=1)
    variance += ((along @ by_pair) * along).sum(axis=1)
    freedom = n - n_groups - rank
    found = fit.outcome_means - apart @ slope - values.mean()
    if freedom < 1:
        return AdjustedGroups(found, np.full(n_groups, np.nan), np.full(n_groups, np.nan))
    step = student_quantile(0.975, n - 1) * np.sqrt(np.maximum(variance, 0) * n / freedom)
    return AdjustedGroups(found, found - step, found + step)
