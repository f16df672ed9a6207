"""Which rows hold which items (tokens, and names of groups), as one sparse matrix: a dense one is never made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from mechscope.core import UsageError
from mechscope.core.kept import rows_key
from mechscope.experiments.contexts import ExperimentContext
from mechscope.stats.block_sums import BlockSums

__all__ = ["RowItems"]


@dataclass(frozen=True, eq=False)
class RowItems:
    """Items of the rows of a slice.

    Attributes:
        names: of the items: tokens, and "column name" for groups. is_token: which are tokens, boolean [items].
        holds: 1 where a row holds an item, int8 csr [n_rows, items]. n_with: rows with each item.
        n_left_out: items that were met, and are in too few rows or in all but too few.
    """

    names: tuple[str, ...]
    is_token: np.ndarray
    holds: sparse.csr_array
    n_with: np.ndarray
    n_left_out: int
    _by_block: list[BlockSums] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, context: ExperimentContext, rows: np.ndarray, *, min_rows: int, groups: Sequence[str] = ()) -> RowItems:
        """The items of `rows` (int64, rising), those with `min_rows` rows at least and as many without.

        One pass over the tokens of the rows. Kept for the next feature.

        Raises:
            UsageError: fewer than three items. NotFoundError: an unknown group column.
        """
        key = (min_rows, tuple(groups), rows_key(rows, context.corpus.n_rows))
        return context.row_items.get(
            key, lambda: cls._read(context, rows, min_rows, groups), lambda found: found.n_bytes
        )

    @classmethod
    def _read(cls, context: ExperimentContext, rows: np.ndarray, min_rows: int, groups: Sequence[str]) -> RowItems:
        corpus, n = context.corpus, len(rows)
        tokens = corpus.tokens.select(rows)
        owner = np.repeat(np.arange(n), np.diff(tokens.indptr))
        columns, vocabulary = [(owner, tokens.ids.astype(np.int64))], list(corpus.vocabulary)
        for column in groups:
            known, codes = context.group_codes(column)
            columns.append((np.arange(n), len(vocabulary) + codes[rows]))
            vocabulary += [f"{column} {name}" for name in known.tolist()]
        at, item = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        held = sparse.csr_array((np.ones(len(at), np.int8), (at, item)), shape=(n, len(vocabulary)))
        held.sum_duplicates()
        held.data[:] = 1  # a row that holds a token twice holds it
        n_with = np.bincount(held.indices, minlength=len(vocabulary))
        kept = np.flatnonzero((n_with >= min_rows) & (n - n_with >= min_rows))
        if len(kept) < 3:
            raise UsageError(
                f"{len(kept)} tokens or groups with {min_rows} rows with them and {min_rows} without",
                expected="three or more",
                todo="widen the slice, or lower min_rows",
            )
        return cls(
            tuple(vocabulary[index] for index in kept),
            kept < len(corpus.vocabulary),
            sparse.csr_array(held.tocsc()[:, kept].tocsr()),
            n_with[kept],
            int((n_with > 0).sum()) - len(kept),
        )

    def __len__(self) -> int:
        return len(self.names)

    def by_block(self, blocks: np.ndarray) -> BlockSums:
        """What makes sums by block and item of values; `blocks` 0 to G - 1, int64 [n]. The last one is kept."""
        if not self._by_block or not np.array_equal(self._by_block[0].blocks, blocks):
            self._by_block[:] = [BlockSums(self.holds, blocks)]
        return self._by_block[0]

    @property
    def n_bytes(self) -> int:
        """Of the items by row, and of the sums by block that may come to it."""
        return int(17 * self.holds.nnz + 12 * self.holds.shape[0])
