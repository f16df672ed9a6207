"""How strongly activations go with items (tokens, groups), in four numbers that shuffled activations give as well.

    best_token_auroc    the largest max(A, 1 - A) over items, A the AUROC of the activation for "the row holds the item"
    held_out_r2         ridge of the activation on all items, fitted on each half of the rows and scored on the other:
                        1 - SSE / SS around the fitting half's mean; the penalty is mean(diag X'X) k / n
    largest_effect      the largest |z| over items, z = (mean with - mean without) / (s sqrt(1/n1 + 1/n0))
    n_tokens_passing    items whose |z| is beyond the normal quantile of alpha / (2 items)

All four need only sums by half and item of the values and their ranks, and by half of their squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from mechscope.experiments.observing.row_items import RowItems
from mechscope.stats.distributions import normal_quantile
from mechscope.stats.ranking import mean_ranks, value_numbers

__all__ = ["N_BY_ITEM", "STATISTICS", "Associations", "ItemAssociations", "Ridge"]

STATISTICS = ("best_token_auroc", "held_out_r2", "largest_effect", "n_tokens_passing")
MOST_IN_RIDGE = 500
N_BY_ITEM = 2
"""Values and ranks are looked at item by item, squares by half alone."""


@dataclass(frozen=True, eq=False)
class Associations:
    """Of b activations: `statistics` [4, b] in the order of `STATISTICS`; areas and z of each item, [items, b]."""

    statistics: np.ndarray
    areas: np.ndarray
    z: np.ndarray


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
    """Measures activations of the same rows again and again, from their sums.

    Args:
        items: of the rows. is_second: the second half of the rows, whole clusters, boolean [n].
        values: the activations, float64 [n]; everything measured is a rearrangement of them.
        alpha: of `n_tokens_passing`.

    Attributes:
        table: makes sums by half and item. columns: values, their ranks and squares, float64 [n, 3].
        sums: of the columns as they are, [2, items + 1, 3].
    """

    def __init__(self, items: RowItems, is_second: np.ndarray, values: np.ndarray, *, alpha: float) -> None:
        self.items, self.is_second, self.values = items, is_second, values
        self.table = items.by_block(is_second.astype(np.int64))
        self._numbers = value_numbers(values)
        self.columns = np.stack([values, mean_ranks(self._numbers), np.square(values)], axis=1)
        self.sums = self.table.sums(self.columns)
        self._n, self._total, self._deviation = len(values), float(values.sum()), float(values.std())
        self._bar = float(normal_quantile(1 - alpha / (2 * len(items))))
        self.in_ridge = np.sort(np.argsort(-items.n_with, kind="stable")[:MOST_IN_RIDGE])
        self._n_half = self.table.counts[:, -1]
        self._item_sums = self.table.counts[:, self.in_ridge]
        self._grams = self.table.grams_of(self.in_ridge)
        self.ridges = [Ridge(*parts) for parts in zip(self._grams, self._item_sums, self._n_half, strict=True)]

    def measure(self, sums: np.ndarray) -> Associations:
        """The associations of b arrangements of `columns`, from what `table` sums them to, [2, items + 1, 3, b]."""
        of_values, of_ranks = sums[:, :-1, 0].sum(axis=0), sums[:, :-1, 1].sum(axis=0)
        n_with = self.items.n_with[:, None].astype(np.float64)
        n_without = self._n - n_with
        scale = max(self._deviation, np.finfo(float).tiny) * np.sqrt(1 / n_with + 1 / n_without)
        z = (of_values / n_with - (self._total - of_values) / n_without) / scale
        areas = (of_ranks - n_with * (n_with + 1) / 2) / (n_with * n_without)
        best = np.maximum(areas, 1 - areas).max(axis=0)
        passing = (np.abs(z) > self._bar).sum(axis=0)
        statistics = np.stack([best, self._r_squared(sums), np.abs(z).max(axis=0), passing])
        return Associations(statistics, areas, z)

    def of_half(self, half: int, *, n_fewest: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """AUROC, mean difference and z of each item over one half of the rows; NaN under `n_fewest` rows in it."""
        here = self.is_second == bool(half)
        values, ranks = self.values[here], np.zeros(self._n)
        ranks[here] = mean_ranks(self._numbers[here])
        sums, of_ranks = self.sums[half, :-1, 0], self.table.sums(ranks)[half, :-1]
        n, n_with = len(values), self.table.counts[half, :-1]
        n_without = n - n_with
        with np.errstate(invalid="ignore", divide="ignore"):
            areas = (of_ranks - n_with * (n_with + 1) / 2) / (n_with * n_without)
            means = sums / n_with - (values.sum() - sums) / n_without
            z = means / (max(float(values.std()), np.finfo(float).tiny) * np.sqrt(1 / n_with + 1 / n_without))
        enough = np.minimum(n_with, n_without) >= n_fewest
        areas, means, z = (np.where(enough, scores, np.nan) for scores in (areas, means, z))
        return areas, means, z

    def r_squared_by_row(self) -> np.ndarray:
        """Of the activations as they are: each row's share of the held-out R2, float64 [n]; its mean is the R2."""
        sums, half = self.sums[..., 0], self.is_second.astype(np.int64)
        means = sums[:, -1] / self._n_half
        coefficients = np.zeros((2, len(self.items) + 1))
        for train, test in ((0, 1), (1, 0)):
            slope = self.ridges[train].coefficients(sums[train, self.in_ridge, None], sums[train, [-1]])[:, 0]
            coefficients[test, self.in_ridge] = slope
            coefficients[test, -1] = means[train] - float(self.ridges[train].mean @ slope)
        error = np.square(self.values - self.table.predict(coefficients))
        around = np.square(self.values - means[1 - half])
        left = error.sum() / around.sum()
        shares: np.ndarray = 1 - left - (error - left * around) / around.mean()
        return shares

    def _r_squared(self, sums: np.ndarray) -> np.ndarray:
        """Held-out R2 over both halves, [b]."""
        halves, y_sum, y_squares = sums[:, self.in_ridge, 0], sums[:, -1, 0], sums[:, -1, 2]
        unexplained, around = np.zeros(sums.shape[-1]), np.zeros(sums.shape[-1])
        for train, test in ((0, 1), (1, 0)):
            ridge, n = self.ridges[train], self._n_half[test]
            slope = ridge.coefficients(halves[train], y_sum[train])
            mean = y_sum[train] / self._n_half[train]
            total = y_squares[test] - 2 * mean * y_sum[test] + n * mean**2
            items = self._item_sums[test]
            gram = self._grams[test] - np.outer(ridge.mean, items) - np.outer(items, ridge.mean)
            gram += n * np.outer(ridge.mean, ridge.mean)
            cross = halves[test] - np.outer(items - n * ridge.mean, mean)
            cross -= np.outer(ridge.mean, y_sum[test])
            unexplained += total - 2 * (slope * cross).sum(axis=0) + (slope * (gram @ slope)).sum(axis=0)
            around += total
        found: np.ndarray = 1 - unexplained / around
        return found
