"""What itemsets would look like if items went together by chance alone, with the margins of the data kept.

Two nulls. "columns": the rows of each item are drawn anew, as many as before (items independent, column sums kept).
"swaps": row sums are kept too (Gionis et al. 2007, "Assessing Data Mining Results via Swap Randomization"): entries
(r, a) and (s, b) become (r, b) and (s, a) when neither is there yet. In one sweep
1. all entries are paired at random, and half of the pairs take part by coin;
2. a pair is dropped when any of its four cells is a cell of another pair that takes part: by this rule a sweep and
   its reverse are equally likely, so that the chain is uniform over all matrices with these margins;
3. the other pairs swap where both new cells are empty.
Chains run from a common hub, itself `n_sweeps` from the data, so that data and draws are exchangeable and p is exact
however short the chain (Besag and Clifford 1989); short chains only lose power.
p = (1 + draws at least as extreme) / (1 + draws), never 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.algorithms.bitsets import BitColumns, pack_bits
from mechscope.experiments.algorithms.itemsets import ItemSets, mine_itemsets

__all__ = [
    "MinedNull",
    "NullKind",
    "SetNull",
    "Swaps",
    "count_under_null",
    "excess_of_sets",
    "mine_under_null",
    "shuffled_columns",
]

NullKind = Literal["columns", "swaps"]


@dataclass(frozen=True)
class SetNull:
    """Given sets against the null.

    Attributes:
        mean, sd: float64 [n_sets], counts of each set over the draws.
        p: float64 [n_sets], one-sided for each set alone.
        p_max: float64 [n_sets], corrected over the sets given: single-step max-T of (count - mean) / sd.
        n_draws: draws of the null.
    """

    mean: np.ndarray
    sd: np.ndarray
    p: np.ndarray
    p_max: np.ndarray
    n_draws: int


@dataclass(frozen=True)
class MinedNull:
    """The whole mining against the null, sets of two items and more.

    Attributes:
        excess: float64 [n_sets], `excess_of_sets` of each mined set; single items have 0.
        p: float64 [n_sets], share of draws whose largest excess over all that was mined there reaches this set's:
            corrected for everything the mining could have found. Single items have 1.
        n_found: sets of two items or more found in the data.
        null_found: int64 [n_draws], the same for each draw.
    """

    excess: np.ndarray
    p: np.ndarray
    n_found: int
    null_found: np.ndarray


def count_under_null(
    columns: BitColumns, members: np.ndarray, *, null: NullKind = "columns", n_draws: int, seed: int, n_sweeps: int = 5
) -> SetNull:
    """Counts of given sets against the null.

    `p` and `p_max` hold for sets that were chosen without these rows, or when all candidates are given; for the best of
    what was mined on the same rows use `mine_under_null`.

    Args:
        columns: the matrix.
        members: integer [n_sets, max_length], padded with -1.
        null: which margins stay; see the top of this file.
        n_draws: 1 or more; the smallest p is 1 / (1 + n_draws).
        seed: of the draws.
        n_sweeps: length of the chains, for "swaps".

    Cost: for each draw O(entries) and O(sets x length x rows / 64); memory rows x columns bytes, draws x sets x 8.
    """
    needed = columns
    if null == "columns":  # the other columns neither matter nor move
        at = np.isin(columns.items, members)
        needed = BitColumns(columns.words[at], columns.items[at], columns.n_rows)
    seen = needed.counts_of(members)
    draws = shuffled_columns(needed, null=null, n_draws=n_draws, seed=seed, n_sweeps=n_sweeps)
    counts = np.array([seen] + [drawn.counts_of(members) for drawn in draws])
    p = (counts >= seen).sum(axis=0) / (1 + n_draws)  # the data are the first of their own draws
    # standardised by data and draws together, which keeps the data exchangeable with the draws
    spread = counts.std(axis=0)
    z = (counts - counts.mean(axis=0)) / np.where(spread > 0, spread, 1)
    p_max = (z.max(axis=1, initial=-np.inf)[:, None] >= z[0]).sum(axis=0) / (1 + n_draws)
    return SetNull(counts[1:].mean(axis=0), counts[1:].std(axis=0), p, p_max, n_draws)


def mine_under_null(
    columns: BitColumns,
    sets: ItemSets,
    *,
    null: NullKind = "columns",
    n_draws: int,
    seed: int,
    min_support: float,
    families: np.ndarray | None = None,
    n_sweeps: int = 5,
) -> MinedNull:
    """Mine each draw of the null as the data were mined, and hold every set against the best of each draw.

    Args:
        columns: the matrix that `sets` were mined from.
        sets: all mined sets; `min_support` and `families` must be those they were mined with.
        null: see the top of this file.
        n_draws: 1 or more.
        seed: of the draws.
        min_support: as mined.
        families: as mined.
        n_sweeps: length of the chains, for "swaps".

    Cost: one shuffle and one mining for each draw.
    """
    max_length = len(sets.starts) - 1
    excess, best, found = excess_of_sets(columns, sets), [], []
    for drawn in shuffled_columns(columns, null=null, n_draws=n_draws, seed=seed, n_sweeps=n_sweeps):
        mined = mine_itemsets(drawn, min_support=min_support, max_length=max_length, families=families)
        best.append(excess_of_sets(drawn, mined)[mined.starts[1] :].max(initial=-np.inf))
        found.append(len(mined) - int(mined.starts[1]))
    p = (1 + (np.array(best)[:, None] >= excess).sum(axis=0)) / (1 + n_draws)
    p[: sets.starts[1]] = 1.0
    return MinedNull(excess, p, len(sets) - int(sets.starts[1]), np.array(found))


def excess_of_sets(columns: BitColumns, sets: ItemSets) -> np.ndarray:
    """(count - expected) / sqrt(expected (1 - expected / rows)), float64 [n_sets]; expected for independent items."""
    shares = np.append(columns.counts() / max(1, columns.n_rows), 1.0)  # the last for the padding
    expected_share = np.where(sets.members >= 0, shares[columns.places(sets.members)], 1.0).prod(axis=1)
    spread = np.sqrt(sets.n_rows * expected_share * (1 - expected_share))
    excess: np.ndarray = (sets.counts - sets.n_rows * expected_share) / np.where(spread > 0, spread, 1)
    excess[: sets.starts[1]] = 0.0
    return excess


def shuffled_columns(
    columns: BitColumns, *, null: NullKind, n_draws: int, seed: int, n_sweeps: int = 5
) -> Iterator[BitColumns]:
    """`n_draws` matrices from the null, one at a time.

    Raises:
        UsageError: fewer than one draw or sweep.
    """
    if n_draws < 1 or n_sweeps < 1:
        raise UsageError(
            f"n_draws={n_draws}, n_sweeps={n_sweeps}",
            expected="1 or more of each",
            todo="199 draws give p down to .005",
        )
    rng = np.random.default_rng(seed)
    if null == "columns":
        counts = columns.counts()
        for _ in range(n_draws):
            yield BitColumns(pack_bits(_random_rows(counts, columns.n_rows, rng)), columns.items, columns.n_rows)
        return
    hub = Swaps.of(columns)
    hub.sweep(rng, n_sweeps)
    for _ in range(n_draws):
        chain = hub.copy()
        chain.sweep(rng, n_sweeps)
        words = pack_bits(chain.is_held.reshape(len(columns.items), columns.n_rows))
        yield BitColumns(words, columns.items, columns.n_rows)


def _random_rows(counts: np.ndarray, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Boolean [n_columns, n_rows], each column a uniform draw among those with its count."""
    # drawing with replacement until the count is reached is uniform; for more than half, draw the rows left out
    is_flipped = 2 * counts > n_rows
    wanted = np.where(is_flipped, n_rows - counts, counts)
    held = np.zeros((len(counts), n_rows), bool)
    missing = wanted.copy()
    while missing.any():
        column = np.repeat(np.arange(len(counts)), missing)
        held[column, rng.integers(0, n_rows, len(column))] = True
        missing = wanted - np.count_nonzero(held, axis=1)
    held[is_flipped] ^= True
    return held


@dataclass
class Swaps:
    """A matrix as its entries' columns and rows, and as booleans over cells; changed in place by `sweep`."""

    column: np.ndarray
    row: np.ndarray
    is_held: np.ndarray
    n_rows: int

    @classmethod
    def of(cls, columns: BitColumns) -> Swaps:
        """The state that stands for these columns."""
        is_held = np.ascontiguousarray(columns.dense().T).ravel()
        column, row = np.divmod(np.flatnonzero(is_held), max(1, columns.n_rows))
        return cls(column, row, is_held, columns.n_rows)

    def copy(self) -> Swaps:
        """The same state, on its own."""
        return Swaps(self.column.copy(), self.row.copy(), self.is_held.copy(), self.n_rows)

    def sweep(self, rng: np.random.Generator, n_sweeps: int) -> None:
        """Take `n_sweeps` steps of the chain, in place."""
        n_pairs = len(self.column) // 2
        owner = np.zeros(len(self.is_held), np.int32)
        for _ in range(n_sweeps):
            order = rng.permutation(len(self.column))
            takes_part = rng.random(n_pairs) < 0.5
            first, second = order[:n_pairs][takes_part], order[n_pairs : 2 * n_pairs][takes_part]
            old = np.stack([self._cell(first, first), self._cell(second, second)])
            new = np.stack([self._cell(first, second), self._cell(second, first)])
            is_moved = (old[0] != new[0]) & (old[0] != new[1])  # neither a row nor a column in common
            goes = is_moved & _alone(owner, np.concatenate([old, new]), is_moved) & ~self.is_held[new].any(axis=0)
            self.is_held[old[:, goes]] = False
            self.is_held[new[:, goes]] = True
            a, b = first[goes], second[goes]
            self.row[a], self.row[b] = self.row[b], self.row[a]

    def _cell(self, column_of: np.ndarray, row_of: np.ndarray) -> np.ndarray:
        cell: np.ndarray = self.column[column_of] * self.n_rows + self.row[row_of]
        return cell


def _alone(owner: np.ndarray, cells: np.ndarray, is_moved: np.ndarray) -> np.ndarray:
    """Which pairs, of those that move, share none of their cells [4, n_pairs] with another: boolean [n_pairs]."""
    at = np.flatnonzero(is_moved)
    cells = cells[:, at]
    owner[cells] = at  # the last writer of a cell stays; the others notice, and tell it
    written = owner[cells]
    is_lost = written != at
    is_alone = np.ones(len(is_moved), bool)
    is_alone[np.broadcast_to(at, cells.shape)[is_lost]] = False
    is_alone[written[is_lost]] = False
    return is_alone
