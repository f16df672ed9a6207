"""Frequent itemsets of a boolean matrix by a packed-bit Eclat, and which of them are closed or maximal.

A set of items is frequent when at least `min_count` rows hold all of it. Eclat (Zaki 2000) walks the tree of sets
depth first: the node of a prefix P holds the items that extend P and, as packed bits, the rows of each.
1. Items are taken from rare to common, so that most of the tree hangs below small columns.
2. At a node all pairs of extensions are counted at once: the sets P + {i, j}.
3. For each extension i with frequent pairs the columns of its partners j are cut down to the rows of P + {i}
   (one bit for each of those rows, not for each row of the matrix), and the walk goes on there.
4. Sets of the greatest length are counted in step 2 of their grandparent and never get columns of their own.
5. Two items of one family are never put together when families are given: cumulative tokens imply each other.
The sets are exact, none is left out, and subsets of a returned set are returned too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.algorithms.bitsets import BitColumns, pair_counts, select_rows

__all__ = ["ItemSets", "closed_sets", "count_candidates", "maximal_sets", "mine_itemsets"]


@dataclass(frozen=True)
class ItemSets:
    """Frequent sets by rising length, in lexicographic order within a length.

    Attributes:
        members: int64 [n_sets, max_length], items of each set rising, padded with -1.
        counts: int64 [n_sets], rows that hold the whole set.
        starts: int64 [max_length + 1]; sets of length L are those from `starts[L - 1]` to `starts[L]`.
        n_rows: rows that were mined.
        n_candidates: for each length the sets that could have been frequent: those of items that occur, families
            obeyed.
    """

    members: np.ndarray
    counts: np.ndarray
    starts: np.ndarray
    n_rows: int
    n_candidates: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def lengths(self) -> np.ndarray:
        """Items in each set, int64 [n_sets]."""
        lengths: np.ndarray = (self.members >= 0).sum(axis=1)
        return lengths

    @property
    def supports(self) -> np.ndarray:
        """Share of the rows that hold each set, float64 [n_sets]."""
        return self.counts / max(1, self.n_rows)

    def tuples(self) -> list[tuple[int, ...]]:
        """The sets as tuples."""
        return [tuple(row[:n].tolist()) for row, n in zip(self.members, self.lengths, strict=True)]

    def find(self, members: np.ndarray) -> np.ndarray:
        """Index of each set of integer `members` [m, length] (length >= 1, no padding, rising); -1: not frequent."""
        found = np.zeros(len(members), np.int64)
        for position in range(members.shape[1]):
            if position >= len(self.starts) - 1:
                return np.full(len(members), -1)
            first, last = self.starts[position], self.starts[position + 1]
            keys = self._keys(position)
            if not len(keys):
                return np.full(len(members), -1)
            key = found * self._radix + members[:, position]
            at = np.searchsorted(keys, key).clip(max=last - first - 1)
            is_item = (members[:, position] >= 0) & (members[:, position] < self._radix)
            found = np.where((found >= 0) & is_item & (keys[at] == key), at + first, -1)
        return found

    @property
    def _radix(self) -> int:
        return int(self.members.max(initial=0)) + 1

    def _keys(self, position: int) -> np.ndarray:
        """Rising numbers that name the sets of `position + 1` items: index of the prefix, then the last item."""
        level = self.members[self.starts[position] : self.starts[position + 1]]
        parents = self.find(level[:, :position]) if position else np.zeros(len(level), np.int64)
        keys: np.ndarray = parents * self._radix + level[:, position]
        return keys


def mine_itemsets(
    columns: BitColumns,
    *,
    min_support: float,
    max_length: int,
    families: np.ndarray | None = None,
    max_sets: int = 2_000_000,
) -> ItemSets:
    """All sets of at most `max_length` items that at least `min_support` of the rows hold.

    Args:
        columns: the matrix; see `BitColumns.from_rows`.
        min_support: share of the rows in (0, 1]; a set needs `max(1, ceil(min_support x rows))` rows.
        max_length: items in a set, 1 or more.
        families: integer [n_items] over item numbers, -1 for none; no set holds two items of one family.
        max_sets: refuse to hold more.

    Raises:
        UsageError: an argument out of its range, or more than `max_sets` sets (none is dropped in silence).

    Cost: about 1 microsecond for each pair of extensions at each node; memory O(rows x columns / 8 + sets x length).
    """
    _check_range(min_support, max_length, columns, families)
    min_count = max(1, math.ceil(min_support * columns.n_rows - 1e-9))
    counts = columns.counts()
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] >= min_count]
    items = columns.items[order]
    family = np.full(len(items), -1) if families is None else families[items]
    found: list[tuple[np.ndarray, np.ndarray]] = [(items[:, None], counts[order])]
    n_found = len(items)
    if max_length > 1:
        for sets in _walk(columns.words[order], items, family, min_count, max_length):
            found.append(sets)
            n_found += len(sets[1])
            if n_found > max_sets:
                raise UsageError(
                    f"more than {max_sets} sets in at least {min_count} of {columns.n_rows} rows",
                    expected=f"at most max_sets={max_sets}",
                    todo="raise the support, lower the greatest length, or make items of one family exclusive",
                )
    occurring = columns.items[counts > 0]
    n_candidates = count_candidates(occurring, max_length=max_length, families=families)
    return _in_order(found, max_length, columns.n_rows, n_candidates)


def count_candidates(items: np.ndarray, *, max_length: int, families: np.ndarray | None = None) -> tuple[int, ...]:
    """How many sets of 1, 2 ... `max_length` of these items have at most one of each family: exact."""
    family = np.full(len(items), -1) if families is None else families[items]
    _, sizes = np.unique(family[family >= 0], return_counts=True)
    ways = [1] + [0] * max_length
    for size in [1] * int((family < 0).sum()) + sizes.tolist():
        for length in range(max_length, 0, -1):
            ways[length] += size * ways[length - 1]
    return tuple(ways[1:])


def closed_sets(sets: ItemSets) -> np.ndarray:
    """Which sets have no mined superset in just as many rows, boolean [n_sets].

    Sets of the greatest mined length have no mined superset and so count as closed.
    """
    is_closed = np.ones(len(sets), bool)
    for subset, superset in _steps(sets):
        is_closed[subset[sets.counts[subset] == sets.counts[superset]]] = False
    return is_closed


def maximal_sets(sets: ItemSets) -> np.ndarray:
    """Which sets have no mined superset at all, boolean [n_sets]; all of the greatest mined length are among them."""
    is_maximal = np.ones(len(sets), bool)
    for subset, _ in _steps(sets):
        is_maximal[subset] = False
    return is_maximal


def _steps(sets: ItemSets) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of subsets with one item less, and of their supersets."""
    for length in range(2, len(sets.starts)):
        superset = np.arange(sets.starts[length - 1], sets.starts[length])
        for left_out in range(length):
            rest = np.delete(sets.members[superset, :length], left_out, axis=1)
            yield sets.find(rest), superset


def _walk(
    words: np.ndarray, items: np.ndarray, family: np.ndarray, min_count: int, max_length: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sets of two items and more: members [n, length] in the order of the walk, counts [n], for each node."""
    stack: list[tuple[np.ndarray, np.ndarray]] = [(words, np.arange(len(items))[:, None])]
    while stack:
        words, members = stack.pop()  # members [n, depth]: the prefix, then the extension
        last, depth = members[:, -1], members.shape[1]
        counts = np.triu(pair_counts(words), 1)
        same = (family[last][:, None] == family[last]) & (family[last] >= 0)
        first, second = np.nonzero((counts >= min_count) & ~same)
        if not len(first):
            continue
        pairs = np.concatenate([members[first], last[second][:, None]], axis=1)
        yield items[pairs], counts[first, second]
        if depth + 1 < max_length:
            stack.extend(_children(words, pairs, first, second))


def _children(
    words: np.ndarray, pairs: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    for start, end in zip(starts, np.append(starts[1:], len(first)), strict=True):
        if end - start > 1:  # one extension has no partner
            yield select_rows(words[second[start:end]], words[first[start]]), pairs[start:end]


def _in_order(
    found: list[tuple[np.ndarray, np.ndarray]], max_length: int, n_rows: int, n_candidates: tuple[int, ...]
) -> ItemSets:
    levels, counts, starts = [], [], [0]
    for length in range(1, max_length + 1):
        parts = [part for part in found if part[0].shape[1] == length]
        level = np.sort(np.concatenate([part[0] for part in parts] or [np.zeros((0, length), np.int64)]), axis=1)
        order = np.lexsort(level.T[::-1])
        padding = np.full((len(level), max_length - length), -1)
        levels.append(np.concatenate([level[order], padding], axis=1))
        counts.append(np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])[order])
        starts.append(starts[-1] + len(level))
    return ItemSets(np.concatenate(levels), np.concatenate(counts), np.array(starts), n_rows, n_candidates)


def _check_range(min_support: float, max_length: int, columns: BitColumns, families: np.ndarray | None) -> None:
    if not 0 < min_support <= 1:
        raise UsageError(f"min_support={min_support}", expected="a share in (0, 1]", todo="give a share of the rows")
    if max_length < 1:
        raise UsageError(f"max_length={max_length}", expected="1 or more", todo="give the items in a set")
    if families is not None and len(columns.items) and len(families) <= columns.items[-1]:
        raise UsageError(
            f"{len(families)} families for items up to {columns.items[-1]}",
            expected="one family for each item number",
            todo="give -1 for items without a family",
        )
