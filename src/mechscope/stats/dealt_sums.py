"""Sums by item and block of values that are dealt anew over the rows, for nulls that look at nothing else.

n rows hold items; y [n, q] is dealt over them. The sums of y over the rows of each block that hold each item are drawn
in one of three ways:

    real     the dealings are made: up to 8192 rows, under strata or units, and where no other way is right
    active   few rows (up to 8192) differ from the lowest value: those alone are dealt, exactly
    normal   rows that hold a rare item get their values one by one, exactly; given those, the sums over the rows left
             are drawn from the normal with the means and covariances of a dealing of the values left, and the total of
             each item is skewed as a dealing's is (see `normal_sums`)

Rare is an item whose sum has a skewness beyond 0.35 under the dealing, or of whose rows fewer than 30 can be expected
above the lowest value; of items in more than half of the rows, the rows without count. Sums of so few values are too
far from the normal, and the largest of many scores looks at their far ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from mechscope.stats.block_sums import BlockSums
from mechscope.stats.group_dealings import MOST_DEALT
from mechscope.stats.normal_sums import NormalSums, skewness_of_sums
from mechscope.stats.samples import check_resamples
from mechscope.stats.shuffling import Shuffles

__all__ = ["MOST_DEALT", "MOST_RARE", "DealtSums", "Way"]

Way = Literal["real", "active", "normal"]
MOST_RARE = 32768  # rows of rare items; nor more than a quarter of all rows
MOST_SKEWNESS = 0.35
FEWEST_ACTIVE = 30
BLOCK_NUMBERS = 4_000_000
IN_WORDS: dict[Way, str] = {
    "real": "",
    "active": " (sums by item drawn: rows above the lowest activation dealt, exactly)",
    "normal": " (sums by item drawn: rows of rare items dealt, the others normal with the shuffles' own moments)",
}


class DealtSums:
    """Sums by block and item of dealt columns.

    Args:
        table: which rows hold which items.
        shuffles: of the rows; tells whether each moves alone, and makes real dealings.
        columns: float64 [n, q], the first one the values that are dealt, the others functions of it.
        n_by_item: the first so many columns are looked at by item, the others by block alone: their sums by item are
            right in mean and covariance, and they do not tell which items are rare. All by default.

    Attributes:
        way: how sums are drawn.
    """

    def __init__(
        self, table: BlockSums, shuffles: Shuffles, columns: np.ndarray, *, n_by_item: int | None = None
    ) -> None:
        self.table, self.columns, self._shuffles = table, columns, shuffles
        self._n_by_item = columns.shape[1] if n_by_item is None else n_by_item
        self._active, self._taken = np.flatnonzero(columns[:, 0] > columns[:, 0].min()), np.zeros(0, np.int64)
        self.way: Way = self._choose()

    @property
    def in_words(self) -> str:
        """What to say behind "199 shuffles"; empty where they are made."""
        return IN_WORDS[self.way]

    def _choose(self) -> Way:
        if not self._shuffles.is_free or self.table.n <= MOST_DEALT:
            return "real"
        if len(self._active) <= MOST_DEALT:
            return "active"
        exact: Way = "active" if len(self._active) <= self.table.n // 2 else "real"
        if not self.table.has_grams:
            return exact
        skewness = self._standardise()[: self._n_by_item]
        self._taken = self._rows_of_rare(float(np.abs(skewness).max()))
        if len(self._taken) > min(MOST_RARE, self.table.n // 4):
            return exact
        taken_grams = self.table.grams_over(self._taken) if len(self._taken) else 0.0
        self._normal = NormalSums(self.table.grams - taken_grams, skewness)
        return "normal"

    def _standardise(self) -> np.ndarray:
        """Columns with mean 0 and deviation 1, kept as [q, n]; returns their skewness, [q]."""
        n, q = self.columns.shape
        self._standard, self._mean, self._scale = np.empty((q, n)), np.empty(q), np.ones(q)
        skewness = np.empty(q)
        for at, column in enumerate(self._standard):
            self._mean[at] = (np.ones(n) @ self.columns[:, at]) / n
            np.subtract(self.columns[:, at], self._mean[at], out=column)
            spread = np.sqrt(column @ column / n)
            self._scale[at] = spread if spread > 0 else 1.0
            column /= self._scale[at]
            skewness[at] = np.square(column) @ column / n
        self._products = self._standard @ self._standard.T
        return skewness

    def _rows_of_rare(self, skewness: float) -> np.ndarray:
        """Rows that hold a rare item, or lack one that nearly all hold, int64."""
        n, n_with = self.table.n, self.table.counts[:, :-1].sum(axis=0)
        fewer = np.minimum(n_with, n - n_with)
        is_rare = np.abs(skewness * skewness_of_sums(n_with, n)) > MOST_SKEWNESS
        is_rare |= fewer * len(self._active) < FEWEST_ACTIVE * n
        is_rare &= fewer > 0
        found = self.table.rows_with(np.flatnonzero(is_rare & (n_with == fewer)))
        for item in np.flatnonzero(is_rare & (n_with > fewer)):
            found |= ~self.table.rows_with(np.array([item]))
        return np.flatnonzero(found)

    def blocks(self, n_draws: int, *, seed: int) -> Iterator[np.ndarray]:
        """Sums [G, k + 1, q, b], blocks of `n_draws` dealings in all; at item k those of whole blocks of rows.

        Cost of a draw: O(entries of the table) if real, else of the active rows or those of rare items; the normal way
        also takes O(G k^3) once. Memory: 32 MB at a time, or one draw.
        """
        check_resamples(n_draws, "n_draws")
        at_once = {"real": self.table.n, "active": 1, "normal": len(self._taken)}[self.way]
        n_block = max(1, BLOCK_NUMBERS // (self.columns.shape[1] * max(at_once, self.table.counts.size)))
        if self.way == "real":
            for places in self._shuffles.places(n_draws, seed=seed, n_block=n_block):
                yield self.table.sums(np.ascontiguousarray(self.columns[places].transpose(0, 2, 1)))
            return
        generator = np.random.default_rng(seed)
        draw = self._deal_active if self.way == "active" else self._draw
        for start in range(0, n_draws, n_block):
            yield draw(min(n_block, n_draws - start), generator)

    def _deal_active(self, n_draws: int, generator: np.random.Generator) -> np.ndarray:
        """What active rows have beyond the lowest, given to as many random rows."""
        lowest = self.columns[np.argmin(self.columns[:, 0])]
        above = self.columns[self._active] - lowest
        found = np.empty((*self.table.counts.shape, len(lowest), n_draws))
        for at in range(n_draws):
            rows = np.sort(generator.choice(self.table.n, len(above), replace=False, shuffle=False))  # sorted: faster
            found[..., at] = self.table.sums_over(rows, above[generator.permutation(len(above))])
        found += (self.table.counts[..., None] * lowest)[..., None]
        return found

    def _draw(self, n_draws: int, generator: np.random.Generator) -> np.ndarray:
        """Rows of rare items value by value, and the normal of the values left for the rows left."""
        n, q = self.columns.shape
        n_taken, n_left = len(self._taken), n - len(self._taken)
        given = np.empty((n_draws, q, n_taken))
        for of_draw in given if n_taken else ():
            of_draw[:] = self._standard[:, generator.choice(n, n_taken, replace=False)]
        means = -given.sum(axis=2) / n_left  # [b, q], since all together have mean 0
        products = self._products - given @ given.transpose(0, 2, 1)
        covariances = (products - n_left * means[:, :, None] * means[:, None, :]) / (n_left - 1)
        found = self._normal.draw(covariances, generator)
        found += self._normal.counts[..., None, None] * means.T
        if n_taken:
            found += self.table.sums_over(self._taken, np.ascontiguousarray(given.transpose(2, 1, 0)))
        found *= self._scale[:, None]
        found += (self.table.counts[..., None] * self._mean)[..., None]
        return found
