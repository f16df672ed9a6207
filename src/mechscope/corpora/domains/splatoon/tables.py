"""Substitutions in many builds at once.

1. A build is a row of places on the families' ladders (0: absent) and its main-only abilities as bits.
2. A change writes into columns of all rows: a place, bits, a weapon.
3. All rows are judged at once, see `judging`.
4. The tokens of legal rows are where the ladder reaches the token's own place: one comparison a token and row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from mechscope.corpora.corpus import Ragged
from mechscope.corpora.domain import Context
from mechscope.corpora.domains.splatoon.coding import State, TokenCoding
from mechscope.corpora.domains.splatoon.judging import BuildJudge
from mechscope.corpora.substituted_rows import SubstitutedRows

__all__ = ["BuildTable"]

NOBODY = 127
"""A place that no row reaches."""


class BuildTable:
    """Places, bits and tokens of one coding."""

    def __init__(self, coding: TokenCoding) -> None:
        self.coding = coding
        self._ladders = [(0, *family.rungs) for family in coding.families.values()]
        self.judge = BuildJudge(coding, self._ladders)

    def substituted(
        self, places: np.ndarray, bits: np.ndarray, changes: Sequence[Mapping[str, Any]]
    ) -> SubstitutedRows | None:
        """Every change of every build, without inputs; None where a change switches several tokens."""
        made = [self.changed(places, bits, change) for change in changes]
        if not len(bits) or not changes or any(one is None for one in made):
            return None
        # the builds as they are, then every change of every build
        every_place, every_bit = (
            np.concatenate(parts) for parts in zip((places, bits), *(one for one in made if one), strict=True)
        )
        change, context = np.divmod(np.arange(len(changes) * len(bits)), len(bits))
        is_same = (every_place[len(bits) :] == places[context]).all(axis=1) & (every_bit[len(bits) :] == bits[context])
        # another weapon makes another row of the same tokens
        is_same &= ~np.array([bool(one.get("groups")) for one in changes])[change]
        distinct, which = _numbered(np.where(is_same, context, len(bits) + np.arange(len(change))))
        reasons = self.judge.reasons(every_place[distinct], every_bit[distinct])
        legal = reasons == 0
        is_result, row = legal[which], np.cumsum(legal) - 1
        tokens = self.tokens(every_place[distinct[legal]], every_bit[distinct[legal]])
        refused: dict[tuple[int, str], int] = {}
        why, first, kind = np.unique(reasons[which[~is_result]], return_index=True, return_inverse=True)
        at = distinct[which[~is_result][first]]
        said = [
            "; ".join(self.judge.words(int(reason), every_place[build], int(every_bit[build])))
            for reason, build in zip(why, at, strict=True)
        ]
        counts = np.bincount(change[~is_result] * len(why) + kind.reshape(-1))
        for place in np.flatnonzero(counts).tolist():
            column, index = divmod(place, len(why))
            refused[column, said[index]] = refused.get((column, said[index]), 0) + int(counts[place])
        return SubstitutedRows(tokens, {}, context[is_result], change[is_result], row[which[is_result]], refused)

    def read(self, contexts: Sequence[Context]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places int8 [n, families], bits int64 [n], and which contexts are what `tokens` writes for them, boolean [n]:
        of the others neither says anything."""
        lengths = np.fromiter((len(context.tokens) for context in contexts), np.int64, count=len(contexts))
        tokens = np.fromiter(chain.from_iterable(context.tokens for context in contexts), np.int64, count=lengths.sum())
        row = np.repeat(np.arange(len(contexts)), lengths)
        places, bits = np.zeros((len(contexts), len(self._ladders)), np.int8), np.zeros(len(contexts), np.int64)
        ids, column, place, bit = self._of_token
        at = np.searchsorted(ids, tokens).clip(max=len(ids) - 1)
        known = ids[at] == tokens
        of_family = known & (place[at] != NOBODY)
        np.maximum.at(places, (row[of_family], column[at[of_family]]), place[at[of_family]])
        np.bitwise_or.at(bits, row[known], bit[at[known]])
        written = self.tokens(places, bits)
        # rows that are not written in rising order are read by themselves
        is_alike = (written.lengths == lengths) & (np.bincount(row[~known], minlength=len(contexts)) == 0)
        both = is_alike[row]
        theirs = np.repeat(is_alike, written.lengths)
        differs = row[both][written.ids[theirs] != tokens[both]]
        is_alike[differs] = False
        return places, bits, is_alike

    def places(self, state: State) -> np.ndarray:
        """Places of one build on the ladders, int8 [families]."""
        return np.array([ladder.index(rung) for ladder, rung in zip(self._ladders, state.rungs, strict=True)], np.int8)

    def changed(
        self, places: np.ndarray, bits: np.ndarray, change: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Places and bits after a change; None where more than one token is switched."""
        coding, places, bits = self.coding, places.copy(), bits.copy()
        for family, rung in change.get("rungs", {}).items():
            places[:, coding.place[family]] = self._ladders[coding.place[family]].index(rung)
        for name, is_there in change.get("binaries", {}).items():
            bits = bits | coding.bit[name] if is_there else bits & ~coding.bit[name]
        on, off = change.get("tokens_on", ()), change.get("tokens_off", ())
        if not on and not off:
            return places, bits
        token = (*on, *off)[0]
        if len(on) + len(off) > 1 or change.get("rungs") or change.get("binaries"):
            return None
        if token in coding.main_only_of_id:
            bit = coding.bit[coding.main_only_of_id[token]]
            return places, bits | bit if on else bits & ~bit
        if token not in coding.rung_of_id:
            return None
        family, rung = coding.rung_of_id[token]
        column, place = coding.place[family], self._ladders[coding.place[family]].index(rung)
        here = places[:, column]
        is_there = here >= place if coding.encoding == "cumulative" else here == place
        places[:, column] = np.where(is_there, here if on else place - 1, place if on else here)
        return places, bits

    def tokens(self, places: np.ndarray, bits: np.ndarray) -> Ragged:
        """The tokens of each row in rising order; `<NULL>` for rows without any."""
        ids, column, place, bit = self._of_token
        reached = np.take(places, column, axis=1)
        holds = reached >= place if self.coding.encoding == "cumulative" else reached == place
        by_bit = np.flatnonzero(bit)
        holds[:, by_bit] = (bits[:, None] & bit[by_bit]) > 0
        if self.coding.null_id is not None:
            at = int(np.searchsorted(ids, self.coding.null_id))
            holds[:, at] = ~holds.any(axis=1)
        # one axis: finding what holds along two takes twice as long
        token = np.flatnonzero(holds.ravel()) % len(ids)
        indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(holds, axis=1))]).astype(np.int64)
        return Ragged(ids.astype(np.int32)[token], indptr)

    @cached_property
    def _of_token(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Token ids in rising order, with the family and the place on its ladder, or the bit, that each stands for."""
        rows = []
        for token, (family, rung) in self.coding.rung_of_id.items():
            column = self.coding.place[family]
            rows.append((token, column, self._ladders[column].index(rung), 0))
        rows += [(token, 0, NOBODY, self.coding.bit[name]) for token, name in self.coding.main_only_of_id.items()]
        if self.coding.null_id is not None:
            rows.append((self.coding.null_id, 0, NOBODY, 0))
        found = np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)
        return found[:, 0], found[:, 1], found[:, 2].astype(np.int8), found[:, 3]


def _numbered(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ones of whole numbers, rising, and the place of each among them."""
    is_there = np.zeros(int(names.max()) + 1, bool)
    is_there[names] = True
    return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[names]
