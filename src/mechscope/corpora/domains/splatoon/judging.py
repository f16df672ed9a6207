"""Whether the slots of a gear set can carry many builds at once: `fitting.slot_faults` for a whole table of rungs.

1. Of a build, `subs[m]` is the fewest subs that its families need when they and the main-only abilities take m mains.
2. A family that is there takes k mains and `least[k]` subs: subs'[m] = min over k of subs[m - k] + least[k].
3. A build fits when some subs[m], m up to 3, is at most 9.
Why a build does not fit depends on little: main-only abilities that need one gear piece, the least points, or how many
mains the main-only abilities take. Builds are told apart by that alone, and each reason is put into words once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from mechscope.corpora.domains.splatoon.coding import State, TokenCoding
from mechscope.corpora.domains.splatoon.fitting import cheapest_slots
from mechscope.corpora.domains.splatoon.points import BUDGET, MAIN_POINTS, N_MAINS, N_SUBS

__all__ = ["BuildJudge"]

IMPOSSIBLE = 100
"""More subs than any build has; twice that is still a byte."""
EMPTY, CLASH, POINTS, SLOTS = (kind << 20 for kind in range(1, 5))


class BuildJudge:
    """Judges builds as rows of places on the families' ladders (0: absent) and main-only abilities as bits.

    Args:
        coding: the vocabulary's. ladders: the rungs of each family in the coding's order, 0 before them.
    """

    def __init__(self, coding: TokenCoding, ladders: Sequence[tuple[int, ...]]) -> None:
        self._coding, self._ladders = coding, ladders
        self._words: dict[int, tuple[str, ...]] = {}

    def reasons(self, places: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """0 where a gear set carries the build, else a number for why not, int64 [n].

        Args:
            places: [n, families]. bits: int64 [n].
        """
        n_mains = np.bitwise_count(bits).astype(np.int64)
        points = MAIN_POINTS * n_mains + self._points_of(places)
        subs = self._subs_of(places, n_mains)
        found = np.where((subs <= N_SUBS).any(axis=0), 0, SLOTS + n_mains)
        found[(found > 0) & (points > BUDGET)] = POINTS
        found = np.where(found == POINTS, POINTS + points, found)
        pieces = np.array(self._coding.piece_bits, dtype=np.int64)
        found = np.where((np.bitwise_count(bits[:, None] & pieces) > 1).any(axis=1), CLASH + bits, found)
        if self._coding.null_id is None:
            found = np.where(~places.any(axis=1) & (bits == 0), EMPTY, found)
        return found

    def _points_of(self, places: np.ndarray) -> np.ndarray:
        """The least points of each build's families, int64 [n]."""
        found = np.zeros(len(places), np.int64)
        for family, lowest in enumerate(self._lowest_points):
            found += lowest[places[:, family]]
        return found

    def _subs_of(self, places: np.ndarray, n_mains: np.ndarray) -> np.ndarray:
        """Fewest subs by mains, [mains, n]: along rows, so that each step passes over builds that lie side by side."""
        n_families = np.count_nonzero(places, axis=1)
        order = np.argsort(-n_families, kind="stable")
        row, family = np.nonzero(places[order])
        starts = np.concatenate([[0], np.cumsum(n_families[order])])
        table = self._least_subs
        code = (family * table.shape[1] + places[order[row], family]).astype(np.intp)
        subs = np.where(np.arange(N_MAINS + 1)[:, None] == n_mains[order], 0, IMPOSSIBLE).astype(np.uint8)
        least = np.ascontiguousarray(table.reshape(-1, N_MAINS + 1).T)
        for turn in range(int(n_families.max(initial=0))):
            # the builds with most families lie first: those that have another one are a part from the start
            n = int(np.searchsorted(-n_families[order], -turn))
            subs[:, :n] = _with_family(subs[:, :n], np.take(least, code[starts[:n] + turn], axis=1))
        found = np.empty_like(subs)
        found[:, order] = subs
        return found

    def words(self, reason: int, places: np.ndarray, bits: int) -> tuple[str, ...]:
        """A reason in words, by a build [families] that has it; empty for 0."""
        if reason not in self._words:
            rungs = tuple(ladder[place] for ladder, place in zip(self._ladders, places.tolist(), strict=True))
            self._words[reason] = self._coding.state_faults(State(rungs, int(bits)))
        return self._words[reason]

    @cached_property
    def _least_subs(self) -> np.ndarray:
        """Fewest subs of each family, place and number of mains, uint8 [families, places, mains]."""
        shape = (len(self._ladders), max(map(len, self._ladders), default=1), N_MAINS + 1)
        table = np.full(shape, IMPOSSIBLE, np.uint8)
        for family, ladder in enumerate(self._ladders):
            for place, rung in enumerate(ladder[1:], start=1):
                for mains, subs in cheapest_slots(self._coding.bucket(family, rung)):
                    table[family, place, mains] = subs
        return table

    @cached_property
    def _lowest_points(self) -> np.ndarray:
        """The least points of each family and place, int64 [families, places]."""
        table = np.zeros(self._least_subs.shape[:2], np.int64)
        for family, ladder in enumerate(self._ladders):
            table[family, : len(ladder)] = ladder
        return table


def _with_family(subs: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Fewest subs by mains [mains, n] once a family with `least` [mains, n] is added."""
    found = np.full_like(subs, IMPOSSIBLE)
    for mains in range(N_MAINS + 1):
        for own in range(mains + 1):
            np.minimum(found[mains], subs[mains - own] + least[own], out=found[mains])
    return found
