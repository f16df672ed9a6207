"""Mined sets in their order from general to particular, and which of them say more of activity than what is below them.

A set is generalised one step by leaving one item out, or by taking the rung below where the table has it: what holds of
the set alone must show against each of these. A set is "productive" (Webb 2007, "Discovering Significant Patterns")
when rows with it are active more often than the other rows of every generalisation. Sets that follow from the coding,
or that only carry an item along, are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mechscope.experiments.algorithms import BitColumns, ItemSets, adjust_p, hypergeometric_tail

__all__ = ["EMPTY", "ActivityContrast", "Lattice", "contrast_activity", "generalised"]

EMPTY = -1
_NONE = -2


@dataclass(frozen=True, eq=False)
class Lattice:
    """Mined sets with what generalises each.

    Attributes:
        sets: as mined.
        below: int64 [n_sets, max_length], index of each set's generalisations: `EMPTY` for the empty set, -2 for none.
        is_closed: no more particular mined set is in just as many rows, boolean [n_sets].
        is_maximal: no more particular set was mined at all, boolean [n_sets].
    """

    sets: ItemSets
    below: np.ndarray
    is_closed: np.ndarray
    is_maximal: np.ndarray

    @classmethod
    def of(cls, sets: ItemSets, has_lower: np.ndarray) -> Lattice:
        """The order of the sets; `has_lower` [n_items]: the item before generalises this one."""
        below = np.full(sets.members.shape, _NONE)
        for length in range(1, len(sets.starts)):
            level = np.arange(sets.starts[length - 1], sets.starts[length])
            for position in range(length):
                below[level, position] = _step(sets, sets.members[level, :length], position, has_lower)
        is_closed, is_maximal = np.ones(len(sets), bool), np.ones(len(sets), bool)
        for column in below.T:
            at = np.flatnonzero(column >= 0)
            is_maximal[column[at]] = False
            is_closed[column[at][sets.counts[column[at]] == sets.counts[at]]] = False
        return cls(sets, below, is_closed, is_maximal)


def generalised(members: tuple[int, ...], has_lower: np.ndarray) -> Iterator[tuple[int, ...]]:
    """The generalisations of one set, position by position."""
    for at, item in enumerate(members):
        kept = (item - 1,) if has_lower[item] else ()
        yield (*members[:at], *kept, *members[at + 1 :])


@dataclass(frozen=True, eq=False)
class ActivityContrast:
    """How mined sets go with activity, on the rows that they were mined on: arrays [n_sets].

    Attributes:
        leverage: share of rows that are active and have the set, minus what independence gives.
        p: one-sided Fisher. q: Benjamini-Hochberg over `n_candidates`, all sets that could have been frequent.
        p_parts: the largest p of the set against its generalisations, in the rows of each.
    """

    leverage: np.ndarray
    p: np.ndarray
    q: np.ndarray
    p_parts: np.ndarray
    n_candidates: int


def contrast_activity(lattice: Lattice, inactive: BitColumns) -> ActivityContrast:
    """Hold every set, mined on active rows, against the inactive ones. O(sets x length x rows / 64)."""
    sets = lattice.sets
    n_active, n_inactive = sets.counts, inactive.counts_of(sets.members)
    n_all, n_rows = n_active + n_inactive, sets.n_rows + inactive.n_rows
    p = hypergeometric_tail(n_active, n_rows=n_rows, n_first=np.array(sets.n_rows), n_second=n_all)
    n_candidates = sum(sets.n_candidates)
    # the empty set is in every row: it stands behind the last, where index -1 finds it
    active_below, all_below = np.append(n_active, sets.n_rows), np.append(n_all, n_rows)
    p_parts = np.zeros(len(sets))
    for column in lattice.below.T:
        at = np.flatnonzero(column != _NONE)
        against = column[at]
        step = hypergeometric_tail(
            n_active[at], n_rows=all_below[against], n_first=active_below[against], n_second=n_all[at]
        )
        p_parts[at] = np.maximum(p_parts[at], step)
    leverage = n_active / n_rows - sets.n_rows / n_rows * (n_all / n_rows)
    return ActivityContrast(leverage, p, adjust_p(p, n_tests=n_candidates), p_parts, n_candidates)


def _step(sets: ItemSets, members: np.ndarray, position: int, has_lower: np.ndarray) -> np.ndarray:
    lowered = members.copy()
    lowered[:, position] -= 1
    found = np.full(len(members), EMPTY)
    is_lowered = has_lower[members[:, position]]
    if is_lowered.any():
        found[is_lowered] = sets.find(lowered[is_lowered])
    if members.shape[1] > 1 and not is_lowered.all():
        found[~is_lowered] = sets.find(np.delete(members[~is_lowered], position, axis=1))
    return found
