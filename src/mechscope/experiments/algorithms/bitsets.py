"""A sparse boolean matrix [rows, items] as one packed row of bits for each item.

Row r of item i is bit r % 64 of word r // 64 of `words[i]`; bits past the last row are 0. The rows that hold several
items are the bitwise and of their words, and their number is a population count: 64 rows for each machine word
(Zaki 2000, "Scalable Algorithms for Association Mining", with bits in place of lists of rows).

Items of one family under cumulative coding (a rung brings all lower rungs) go together in every row by construction.
`keep_highest_rung` leaves only the highest one, so that an item then says "exactly this rung".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError

__all__ = ["BitColumns", "keep_highest_rung", "pack_bits", "pair_counts", "select_rows"]

CHUNK_CELLS = 1 << 26  # of the dense boolean chunk that packing goes through
BROADCAST_WORDS = 1 << 15  # above this, one item against the others is faster than all against all


@dataclass(frozen=True)
class BitColumns:
    """Packed columns.

    Attributes:
        words: uint64 [n_columns, n_words], little-endian bits; not changed by any function here.
        items: int64 [n_columns], the item of each column, rising.
        n_rows: rows of the matrix.
    """

    words: np.ndarray
    items: np.ndarray
    n_rows: int

    @classmethod
    def from_rows(cls, indptr: np.ndarray, items: np.ndarray, *, min_count: int = 1) -> BitColumns:
        """Pack rows given one after the other; an item that stands twice in a row counts once.

        Args:
            indptr: integer [n_rows + 1]; row r holds `items[indptr[r]:indptr[r + 1]]`.
            items: integer [n_entries], not negative.
            min_count: items in fewer entries get no column: they cannot be in `min_count` rows.

        Raises:
            UsageError: `indptr` does not fit, or an item is negative.

        Cost: O(entries + rows x columns / 8) bytes and time, dense chunks of 64 MiB at most.
        """
        if not len(indptr) or indptr[0] != 0 or indptr[-1] != len(items) or np.any(np.diff(indptr) < 0):
            raise UsageError(
                f"indptr of {len(indptr)} numbers over {len(items)} entries",
                expected="rising numbers from 0 to the number of entries",
                todo="give the compressed rows as scipy.sparse.csr_array holds them",
            )
        if len(items) and items.min() < 0:
            raise UsageError(f"item {items.min()}", expected="0 or more", todo="leave out padding before packing")
        kept = np.flatnonzero(np.bincount(items, minlength=1) >= max(1, min_count))
        place = np.full(int(items.max()) + 1 if len(items) else 1, -1)
        place[kept] = np.arange(len(kept))
        n_rows = len(indptr) - 1
        words = np.zeros((len(kept), -(-n_rows // 64)), np.uint64)
        chunk_rows = max(1, CHUNK_CELLS // max(1, len(kept)) // 64) * 64
        for first in range(0, n_rows, chunk_rows):
            ends = indptr[first : first + chunk_rows + 1]
            column = place[items[ends[0] : ends[-1]]]
            row = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
            dense = np.zeros((len(kept), len(ends) - 1), bool)
            dense[column[column >= 0], row[column >= 0]] = True
            packed = pack_bits(dense)
            words[:, first // 64 : first // 64 + packed.shape[1]] = packed
        return cls(words, kept.astype(np.int64), n_rows)

    @classmethod
    def from_dense(cls, matrix: np.ndarray) -> BitColumns:
        """Pack a boolean [n_rows, n_items] matrix; every item gets a column, also an empty one."""
        return cls(pack_bits(matrix.T), np.arange(matrix.shape[1]), len(matrix))

    def dense(self) -> np.ndarray:
        """The boolean matrix [n_rows, n_columns] again."""
        return _unpacked(self.words, self.n_rows).T

    def counts(self) -> np.ndarray:
        """Rows that hold each item, int64 [n_columns]."""
        counts: np.ndarray = np.bitwise_count(self.words).sum(axis=1, dtype=np.int64)
        return counts

    def places(self, members: np.ndarray) -> np.ndarray:
        """Column of each item in integer `members` of any shape; -1 for items without one and for -1."""
        if not len(self.items):
            return np.full(members.shape, -1)
        at = np.searchsorted(self.items, members).clip(max=len(self.items) - 1)
        return np.where(self.items[at] == members, at, -1)

    def counts_of(self, members: np.ndarray) -> np.ndarray:
        """Rows that hold all items of each set, int64 [n_sets].

        Args:
            members: integer [n_sets, max_length], sets padded with -1.

        Cost: O(sets x length x rows / 64).
        """
        places, counts = self.places(members), np.empty(len(members), np.int64)
        padded = np.concatenate([self.words, np.zeros((1, self.words.shape[1]), np.uint64)])  # -1: no row
        chunk = max(1, (1 << 22) // max(1, self.words.shape[1]))
        for first in range(0, len(members), chunk):
            part = slice(first, first + chunk)
            held = padded[places[part, 0]]
            for position in range(1, members.shape[1]):
                is_used = members[part, position] >= 0
                held[is_used] &= padded[places[part, position][is_used]]
            counts[part] = np.bitwise_count(held).sum(axis=1, dtype=np.int64)
        return counts


def pack_bits(rows: np.ndarray) -> np.ndarray:
    """Boolean [n, length] as uint64 [n, ceil(length / 64)], first element in the lowest bit."""
    packed = np.packbits(rows, axis=1, bitorder="little")
    padded = np.zeros((len(rows), -(-rows.shape[1] // 64) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8").astype(np.uint64, copy=False)


def select_rows(words: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The columns `words` [n, n_words] on the rows set in `mask` [n_words] alone: uint64 [n, ceil(count / 64)]."""
    used = np.flatnonzero(mask)  # words without a chosen row are never unpacked
    chosen = _unpacked(mask[None, used], 64 * len(used))[0]
    return pack_bits(_unpacked(words[:, used], 64 * len(used))[:, chosen])


def pair_counts(words: np.ndarray) -> np.ndarray:
    """Rows that hold both of each two columns, int64 [n, n]; only the part above the diagonal is filled for sure."""
    n, width = words.shape
    if n * width <= BROADCAST_WORDS // max(1, n):
        counts: np.ndarray = np.bitwise_count(words[:, None] & words[None]).sum(axis=2, dtype=np.int64)
        return counts
    counts = np.zeros((n, n), np.int64)
    for first in range(n - 1):
        counts[first, first + 1 :] = np.bitwise_count(words[first] & words[first + 1 :]).sum(axis=1, dtype=np.int64)
    return counts


def keep_highest_rung(
    indptr: np.ndarray, items: np.ndarray, *, families: np.ndarray, rungs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows in which each family keeps only the item of its highest rung; other items stay.

    Args:
        indptr: integer [n_rows + 1] and
        items: integer [n_entries], the rows as in `BitColumns.from_rows`.
        families: integer [n_items], the family of each item, -1 for items of none.
        rungs: integer [n_items], the height of each item in its family.

    Returns:
        New `indptr` and `items`; order within a row is kept.
    """
    row, family = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), families[items]
    n_families = int(families.max(initial=-1)) + 1
    highest = np.full((len(indptr) - 1, max(1, n_families)), -1)
    in_family = family >= 0
    np.maximum.at(highest, (row[in_family], family[in_family]), rungs[items[in_family]])
    is_kept = ~in_family | (rungs[items] == highest[row, family])
    n_kept = np.bincount(row[is_kept], minlength=len(indptr) - 1)
    return np.concatenate([[0], np.cumsum(n_kept)]), items[is_kept]


def _unpacked(words: np.ndarray, length: int) -> np.ndarray:
    """Boolean [n, length] of uint64 [n, n_words]."""
    little = words if sys.byteorder == "little" else words.astype("<u8")
    in_bytes = np.ascontiguousarray(little).view(np.uint8)
    return np.unpackbits(in_bytes, axis=1, count=length, bitorder="little").view(bool)
