"""Sums of values over the rows that hold an item, block of rows by block, from one sparse table.

Row r of the table has a one at (block of r, item) for each item that it holds, and one at (block of r, k) in any case,
so that sums over whole blocks come along. A product with the turned table gives all sums of any number of columns.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

__all__ = ["MOST_GRAM", "BlockSums"]

MOST_GRAM = 1 << 24  # numbers in the grams of all blocks: 128 MB


class BlockSums:
    """Which rows hold which items, by block.

    Args:
        holds: what a row holds is set, [n, k]; its numbers are not read.
        blocks: the block of each row, 0 to G - 1, [n].
        n_blocks: G, where blocks without a row may stand at the end.
    """

    def __init__(self, holds: sparse.csr_array, blocks: np.ndarray, *, n_blocks: int | None = None) -> None:
        self.n, self.n_items = holds.shape
        self.blocks, self.n_blocks = blocks, n_blocks or int(blocks.max()) + 1
        self._width = self.n_items + 1
        indptr = holds.indptr + np.arange(self.n + 1, dtype=holds.indptr.dtype)
        first = (blocks * self._width).astype(holds.indices.dtype)
        indices = np.insert(holds.indices, holds.indptr[1:], self.n_items) + np.repeat(first, np.diff(indptr))
        shape = (self.n, self.n_blocks * self._width)
        self.table = sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=shape)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Of `values` [n, ...] by block and item, and at item k of the whole block, float64 [G, k + 1, ...]."""
        return self._shaped(self.table.T @ values.reshape(self.n, -1), values.shape[1:])

    def sums_over(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """As `sums`, of `values` [m, ...] of the given rows [m] alone."""
        return self._shaped(self.table[rows].T @ values.reshape(len(rows), -1), values.shape[1:])

    def _shaped(self, sums: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        found: np.ndarray = sums.reshape(self.n_blocks, self._width, *shape)
        return found

    @cached_property
    def counts(self) -> np.ndarray:
        """Rows of each block with each item, and of the block, float64 [G, k + 1]."""
        return self.sums(np.ones(self.n))

    @property
    def has_grams(self) -> bool:
        """Whether `grams` would be within `MOST_GRAM`."""
        return bool(self.n_blocks * self._width**2 <= MOST_GRAM)

    @cached_property
    def grams(self) -> np.ndarray:
        """Rows of a block that hold both of two items, [G, k + 1, k + 1]; kept. Cost of a row: O(items squared)."""
        return self.grams_over(np.arange(self.n))

    def grams_of(self, items: np.ndarray) -> np.ndarray:
        """`grams` of some items, [G, items, items]; taken from those of all where these are small enough to keep."""
        if self.has_grams:
            return self.grams[:, items[:, None], items]
        return self.grams_over(np.arange(self.n), items)

    def predict(self, coefficients: np.ndarray) -> np.ndarray:
        """The sum of a row's coefficients, those of its block [G, k + 1], for each row: [n]."""
        found: np.ndarray = self.table @ coefficients.reshape(-1)
        return found

    def rows_in(self, block: int, item: int) -> np.ndarray:
        """Which rows of a block hold an item, in the order of the rows of the block, boolean."""
        at = np.flatnonzero(self.table.indices == block * self._width + item)
        found = np.zeros(self.n, bool)
        found[np.searchsorted(self.table.indptr, at, side="right") - 1] = True
        here: np.ndarray = found[self.blocks == block]
        return here

    def grams_over(self, rows: np.ndarray, items: np.ndarray | None = None) -> np.ndarray:
        """As `grams`, over the given rows and items alone."""
        order = rows[np.argsort(self.blocks[rows], kind="stable")]
        ends = np.cumsum(np.bincount(self.blocks[rows], minlength=self.n_blocks))
        width = self._width if items is None else len(items)
        found = np.empty((self.n_blocks, width, width))
        for block, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            part = self.table[order[start:stop]]
            part = sparse.csr_array(
                (part.data, part.indices - block * self._width, part.indptr), shape=(stop - start, self._width)
            )
            part = part if items is None else part[:, items]
            found[block] = (part.T @ part).toarray()
        return found

    def rows_with(self, items: np.ndarray) -> np.ndarray:
        """Which rows hold any of the items (k: all rows), boolean [n]."""
        is_wanted = np.tile(np.isin(np.arange(self._width), items), self.n_blocks)
        at = np.flatnonzero(is_wanted[self.table.indices])
        found = np.zeros(self.n, bool)
        found[np.searchsorted(self.table.indptr, at, side="right") - 1] = True
        return found
