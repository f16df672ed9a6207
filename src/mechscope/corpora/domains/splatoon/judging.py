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

IMPOSSIBLE = 1 << 10
"""More subs than any build has, even when all families add theirs."""
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
        subs = np.where(np.arange(N_MAINS + 1) == n_mains[:, None], 0, IMPOSSIBLE).astype(np.int16)
        points = MAIN_POINTS * n_mains
        for family, (least, lowest) in enumerate(zip(self._least_subs, self._lowest_points, strict=True)):
            here = np.flatnonzero(places[:, family])
            at = places[here, family]
            points[here] += lowest[at]
            subs[here] = _with_family(subs[here], least[at])
        found = np.where((subs <= N_SUBS).any(axis=1), 0, SLOTS + n_mains)
        found[(found > 0) & (points > BUDGET)] = POINTS
        found = np.where(found == POINTS, POINTS + points, found)
        pieces = np.array(self._coding.piece_bits, dtype=np.int64)
        found = np.where((np.bitwise_count(bits[:, None] & pieces) > 1).any(axis=1), CLASH + bits, found)
        if self._coding.null_id is None:
            found = np.where(~places.any(axis=1) & (bits == 0), EMPTY, found)
        return found

    def words(self, reason: int, places: np.ndarray, bits: int) -> tuple[str, ...]:
        """A reason in words, by a build [families] that has it; empty for 0."""
        if reason not in self._words:
            rungs = tuple(ladder[place] for ladder, place in zip(self._ladders, places.tolist(), strict=True))
            self._words[reason] = self._coding.state_faults(State(rungs, int(bits)))
        return self._words[reason]

    @cached_property
    def _least_subs(self) -> np.ndarray:
        """Fewest subs of each family, place and number of mains, int16 [families, places, mains]."""
        shape = (len(self._ladders), max(map(len, self._ladders), default=1), N_MAINS + 1)
        table = np.full(shape, IMPOSSIBLE, np.int16)
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
    """Fewest subs by mains [n, mains] once a family with `least` [n, mains] is added."""
    found = np.full_like(subs, IMPOSSIBLE)
    for mains in range(N_MAINS + 1):
        for own in range(mains + 1):
            np.minimum(found[:, mains], subs[:, mains - own] + least[:, own], out=found[:, mains])
    return found
