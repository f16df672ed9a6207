"""Which tokens and inputs stand together in the corpus, and in how many rows: what a changed context is held against.

set    two items (tokens, or inputs such as the weapon) stand together when one row holds both. Items are packed one
       bit a row, so a pair costs a population count; the counts of an item with all others are made on first use.
text   two tokens stand together when one follows the other: in a long text everything stands beside everything, and
       what a change of one word makes new is what stands next to it. Inputs are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mechscope.corpora import Corpus
from mechscope.corpora.domain import Context
from mechscope.experiments.algorithms.bitsets import BitColumns

__all__ = ["Companions"]

STRIDE = 1 << 40  # between the items of one input column and the next; tokens are below it


@dataclass(eq=False)
class Companions:
    """Counts over the rows of one corpus."""

    corpus: Corpus
    _counts: dict[int, np.ndarray] = field(default_factory=dict)

    def new_pairs(self, original: Context, changed: Context) -> Iterator[tuple[int, int]]:
        """The pairs of items that stand together in the changed context and did not in the original one."""
        if self.corpus.kind != "set":
            yield from sorted(_neighbours(changed) - _neighbours(original))
            return
        before, after = self._items(original), self._items(changed)
        new = sorted(set(after) - set(before))
        for at, item in enumerate(new):
            yield from ((item, other) for other in after if other not in new[: at + 1])

    def count(self, first: int, second: int) -> int:
        """Rows in which two items stand together; in texts rows where the second follows the first."""
        if self.corpus.kind != "set":
            at = int(np.searchsorted(self._bigrams[0], first * len(self.corpus.vocabulary) + second))
            is_there = at < len(self._bigrams[0]) and self._bigrams[0][at] == first * self._n_tokens + second
            return int(self._bigrams[1][at]) if is_there else 0
        places = [self._places.get(item, -1) for item in (first, second)]
        if min(places) < 0:
            return 0
        if places[0] not in self._counts:
            words = self._bits.words
            self._counts[places[0]] = np.bitwise_count(words & words[places[0]]).sum(axis=1, dtype=np.int64)
        return int(self._counts[places[0]][places[1]])

    def name(self, item: int) -> str:
        """What people call an item: a token, or an input with its value."""
        if item < self._n_tokens:
            return self.corpus.vocabulary[item]
        return f"{list(self._starts)[item // STRIDE - 1]} {item % STRIDE}"

    @property
    def _n_tokens(self) -> int:
        return len(self.corpus.vocabulary)

    @cached_property
    def _starts(self) -> dict[str, int]:
        """The item of value 0 of each input column."""
        return {name: at * STRIDE for at, name in enumerate(self.corpus.names_with_role("input", "row"), start=1)}

    def _items(self, context: Context) -> list[int]:
        inputs = [self._starts[name] + value for name, value in context.inputs.items() if name in self._starts]
        return [*context.tokens, *inputs]

    @cached_property
    def _bits(self) -> BitColumns:
        """Tokens and inputs of the rows, packed; items renumbered, since packing takes numbers without gaps."""
        corpus = self.corpus
        row = np.arange(corpus.n_rows)
        given = [start + corpus.column(name).astype(np.int64) for name, start in self._starts.items()]
        items = np.concatenate([corpus.tokens.ids.astype(np.int64), *given])
        rows = np.concatenate([np.repeat(row, corpus.tokens.lengths), *(row for _ in given)])
        indptr = np.concatenate([[0], np.cumsum(corpus.tokens.lengths + len(given))])
        known, number = np.unique(items[np.argsort(rows, kind="stable")], return_inverse=True)
        packed = BitColumns.from_rows(indptr, number.reshape(-1))
        return BitColumns(packed.words, known, packed.n_rows)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {int(item): at for at, item in enumerate(self._bits.items)}

    @cached_property
    def _bigrams(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of neighbours as first * d_vocab + second, ascending, and in how many rows each stands."""
        ids = self.corpus.tokens.ids.astype(np.int64)
        row = np.repeat(np.arange(self.corpus.n_rows), self.corpus.tokens.lengths)
        inside = row[1:] == row[:-1]
        pairs, rows = (ids[:-1] * self._n_tokens + ids[1:])[inside], row[1:][inside]
        order = np.lexsort((rows, pairs))
        pairs, rows = pairs[order], rows[order]
        is_first = np.ones(len(pairs), bool)
        is_first[1:] = (pairs[1:] != pairs[:-1]) | (rows[1:] != rows[:-1])
        found, counts = np.unique(pairs[is_first], return_counts=True)
        return found, counts


def _neighbours(context: Context) -> set[tuple[int, int]]:
    return set(zip(context.tokens, context.tokens[1:], strict=False))
