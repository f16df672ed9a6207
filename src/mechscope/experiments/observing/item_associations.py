"""How strongly activations go with items (tokens, groups), in four numbers that shuffled activations give as well.

    best_token_auroc    the largest max(A, 1 - A) over items, A the AUROC of the activation for "the row holds the item"
    held_out_r2         ridge of the activation on all items, fitted on each half of the rows and scored on the other:
                        1 - SSE / SS around the fitting half's mean; the penalty is mean(diag X'X) k / n
    largest_effect      the largest |z| over items, z = (mean with - mean without) / (s sqrt(1/n1 + 1/n0))
    n_tokens_passing    items whose |z| is beyond the normal quantile of alpha / (2 items)

All four need only X'v, X'rank(v) and sums of halves, so that a shuffle costs two sparse products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm, rankdata

from mechscope.experiments.observing.row_items import RowItems

__all__ = ["STATISTICS", "Associations", "ItemAssociations", "Ridge", "score_items"]

STATISTICS = ("best_token_auroc", "held_out_r2", "largest_effect", "n_tokens_passing")
MOST_IN_RIDGE = 500


@dataclass(frozen=True, eq=False)
class Associations:
    """Of b activations: `statistics` [4, b] in the order of `STATISTICS`; areas and z of each item, [items, b]."""

    statistics: np.ndarray
    areas: np.ndarray
    z: np.ndarray


def score_items(holds: sparse.csr_array, values: np.ndarray, *, n_fewest: int = 5) -> tuple[np.ndarray, ...]:
    """AUROC, mean difference and z of `values` [n] for each item of `holds` [n, items]; NaN under `n_fewest` rows."""
    n = len(values)
    n_with = np.asarray(holds.sum(axis=0), dtype=np.float64).reshape(-1)
    n_without = n - n_with
    with np.errstate(invalid="ignore", divide="ignore"):
        areas = (holds.T @ rankdata(values) - n_with * (n_with + 1) / 2) / (n_with * n_without)
        sums = holds.T @ values
        means = sums / n_with - (values.sum() - sums) / n_without
        z = means / (max(float(values.std()), np.finfo(float).tiny) * np.sqrt(1 / n_with + 1 / n_without))
    enough = np.minimum(n_with, n_without) >= n_fewest
    return tuple(np.where(enough, scores, np.nan) for scores in (areas, means, z))


class Ridge:
    """Ridge on one half of the rows from sums alone; what it predicts is linear in the values of that half."""

    def __init__(self, gram: np.ndarray, sums: np.ndarray, n: float) -> None:
        self.mean, self.n = sums / n, n
        centred = gram - n * np.outer(self.mean, self.mean)
        penalty = float(np.diag(centred).mean()) * len(centred) / n
        self.factor = cho_factor(centred + penalty * np.eye(len(centred)))

    def coefficients(self, xy: np.ndarray, y_sum: np.ndarray) -> np.ndarray:
        """Of values with X'y [k, b] and sums [b]: [k, b]."""
        found: np.ndarray = cho_solve(self.factor, xy - np.outer(self.mean, y_sum))
        return found


class ItemAssociations:
    """Measures activations of the same rows again and again.

    Args:
        items: of the rows. is_second: the second half of the rows, whole clusters, boolean [n].
        values: the activations, float64 [n]; everything measured is a rearrangement of them.
        alpha: of `n_tokens_passing`.
    """

    def __init__(self, items: RowItems, is_second: np.ndarray, values: np.ndarray, *, alpha: float) -> None:
        self.items, self.is_second, self.values = items, is_second, values
        self.ranks = rankdata(values)
        self._n, self._total, self._deviation = len(values), float(values.sum()), float(values.std())
        self._squares = float(np.square(values).sum())
        self._bar = float(norm.isf(alpha / (2 * len(items))))
        self._holds = items.holds.T.tocsr()
        self._sums = items.by_block(is_second.astype(np.int64))
        self.in_ridge = np.sort(np.argsort(-items.n_with, kind="stable")[:MOST_IN_RIDGE])
        halves = [items.holds[side][:, self.in_ridge] for side in (~is_second, is_second)]
        self._grams = [(half.T @ half).toarray() for half in halves]
        self._item_sums = [np.asarray(half.sum(axis=0), dtype=np.float64).reshape(-1) for half in halves]
        self._n_half = [float((~is_second).sum()), float(is_second.sum())]
        self.ridges = [Ridge(*parts) for parts in zip(self._grams, self._item_sums, self._n_half, strict=True)]

    def measure(self, places: np.ndarray) -> Associations:
        """The associations of `values[places]`, places int64 [n, b]. Cost: two sparse products with [n, b]."""
        shuffled, k = self.values[places], len(self.items)
        halves = (self._sums @ shuffled).reshape(2, k, -1)
        n_with = self.items.n_with[:, None].astype(np.float64)
        n_without, sums = self._n - n_with, halves.sum(axis=0)
        scale = max(self._deviation, np.finfo(float).tiny) * np.sqrt(1 / n_with + 1 / n_without)
        z = (sums / n_with - (self._total - sums) / n_without) / scale
        rank_sums = self._holds @ self.ranks[places]
        areas = (rank_sums - n_with * (n_with + 1) / 2) / (n_with * n_without)
        best = np.maximum(areas, 1 - areas).max(axis=0)
        passing = (np.abs(z) > self._bar).sum(axis=0)
        statistics = np.stack([best, self._r_squared(shuffled, halves), np.abs(z).max(axis=0), passing])
        return Associations(statistics, areas, z)

    def r_squared_by_row(self) -> np.ndarray:
        """Of the activations as they are: each row's share of the held-out R2, float64 [n]; its mean is the R2."""
        error, around = np.empty(self._n), np.empty(self._n)
        for ridge, train in zip(self.ridges, (~self.is_second, self.is_second), strict=True):
            y, holds = self.values[train], self.items.holds[:, self.in_ridge]
            slope = ridge.coefficients((holds[train].T @ y)[:, None], np.array([y.sum()]))[:, 0]
            predicted = y.mean() + holds[~train] @ slope - float(ridge.mean @ slope)
            error[~train], around[~train] = self.values[~train] - predicted, self.values[~train] - y.mean()
        error, around = error**2, around**2
        left = error.sum() / around.sum()
        shares: np.ndarray = 1 - left - (error - left * around) / around.mean()
        return shares

    def _r_squared(self, shuffled: np.ndarray, halves: np.ndarray) -> np.ndarray:
        """Held-out R2 over both halves, [b]."""
        first = ~self.is_second
        y_sum = [shuffled[first].sum(axis=0)]
        y_squares = [np.square(shuffled[first]).sum(axis=0)]
        y_sum.append(self._total - y_sum[0])
        y_squares.append(self._squares - y_squares[0])
        unexplained, around = np.zeros(shuffled.shape[1]), np.zeros(shuffled.shape[1])
        for train, test in ((0, 1), (1, 0)):
            ridge, n = self.ridges[train], self._n_half[test]
            slope = ridge.coefficients(halves[train][self.in_ridge], y_sum[train])
            mean = y_sum[train] / self._n_half[train]
            total = y_squares[test] - 2 * mean * y_sum[test] + n * mean**2
            items = self._item_sums[test]
            gram = self._grams[test] - np.outer(ridge.mean, items) - np.outer(items, ridge.mean)
            gram += n * np.outer(ridge.mean, ridge.mean)
            cross = halves[test][self.in_ridge] - np.outer(items - n * ridge.mean, mean)
            cross -= np.outer(ridge.mean, y_sum[test])
            unexplained += total - 2 * (slope * cross).sum(axis=0) + (slope * (gram @ slope)).sum(axis=0)
            around += total
        found: np.ndarray = 1 - unexplained / around
        return found
