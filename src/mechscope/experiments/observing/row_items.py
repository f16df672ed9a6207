"""Which rows hold which items (tokens, and names of groups), as one sparse matrix: a dense one is never made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mechscope.core import UsageError
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["RowItems"]


@dataclass(frozen=True, eq=False)
class RowItems:
    """Items of the rows of a slice.

    Attributes:
        names: of the items: tokens, and "column name" for groups. is_token: which are tokens, boolean [items].
        holds: 1 where a row holds an item, float64 csr [n_rows, items]. n_with: rows with each item.
        n_left_out: items that were met, and are in too few rows or in all but too few.
    """

    names: tuple[str, ...]
    is_token: np.ndarray
    holds: sparse.csr_array
    n_with: np.ndarray
    n_left_out: int

    @classmethod
    def of(cls, context: ExperimentContext, rows: np.ndarray, *, min_rows: int, groups: Sequence[str] = ()) -> RowItems:
        """The items of `rows` (int64, rising), those with `min_rows` rows at least and as many without.

        One pass over the tokens of the rows.

        Raises:
            UsageError: fewer than three items. NotFoundError: an unknown group column.
        """
        corpus, n = context.corpus, len(rows)
        tokens = corpus.tokens.select(rows)
        owner = np.repeat(np.arange(n), np.diff(tokens.indptr))
        columns, vocabulary = [(owner, tokens.ids.astype(np.int64))], list(corpus.vocabulary)
        for column in groups:
            known, index = np.unique(context.group_values(column)[rows], return_inverse=True)
            columns.append((np.arange(n), len(vocabulary) + index.reshape(n)))
            vocabulary += [f"{column} {name}" for name in known.tolist()]
        at, item = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        held = sparse.csr_array((np.ones(len(at)), (at, item)), shape=(n, len(vocabulary)))
        held.sum_duplicates()
        held.data[:] = 1.0  # a row that holds a token twice holds it
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

    def by_block(self, blocks: np.ndarray) -> sparse.csr_array:
        """The matrix [blocks * items, n] that makes of values [n, b] their sums by block and item."""
        n, k = self.holds.shape
        entries = self.holds.tocoo()
        at = blocks[entries.row] * k + entries.col
        shape = ((int(blocks.max()) + 1) * k, n)
        return sparse.csr_array((entries.data, (at, entries.row)), shape=shape)
