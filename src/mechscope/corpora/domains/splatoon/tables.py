"""Substitutions in many builds at once.

1. A build is a row of places on the families' ladders (0: absent) and its main-only abilities as bits.
2. A change writes into columns of all rows: a place, bits, a weapon.
3. Whether slots can carry a row depends on its rungs as a multiset: rows are told apart by their sorted buckets, and
   each multiset is judged once.
4. The tokens of legal rows are where the ladder reaches the token's own place: one comparison a token and row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mechscope.corpora.corpus import Ragged
from mechscope.corpora.domains.splatoon.coding import State, TokenCoding
from mechscope.corpora.substituted_rows import SubstitutedRows

__all__ = ["BuildTable"]

NOBODY = 127
"""A place that no row reaches."""
CLASH = 1 << 15


class BuildTable:
    """Places, bits and tokens of one coding."""

    def __init__(self, coding: TokenCoding) -> None:
        self.coding = coding
        self._known: dict[bytes, tuple[str, ...]] = {}
        self._ladders = [(0, *family.rungs) for family in coding.families.values()]

    def substituted(self, states: Sequence[State], changes: Sequence[Mapping[str, Any]]) -> SubstitutedRows | None:
        """Every change of every state, without inputs; None where a change switches several tokens."""
        places, bits = self.places(states), np.array([state.main_only for state in states], dtype=np.int64)
        made = [self.changed(places, bits, change) for change in changes]
        if not states or not changes or any(one is None for one in made):
            return None
        all_places, all_bits = (np.concatenate(parts) for parts in zip(*(one for one in made if one), strict=True))
        change = np.repeat(np.arange(len(changes)), len(states))
        faults = self.faults(all_places, all_bits)
        legal = np.flatnonzero([not why for why in faults])
        refused = Counter((at, "; ".join(why)) for at, why in zip(change.tolist(), faults, strict=True) if why)
        tokens = self.tokens(all_places[legal], all_bits[legal])
        return SubstitutedRows(tokens, {}, legal % len(states), change[legal], dict(refused))

    def places(self, states: Sequence[State]) -> np.ndarray:
        """Places on the ladders, int8 [rows, families]."""
        at = [{rung: place for place, rung in enumerate(ladder)} for ladder in self._ladders]
        return np.array(
            [[where[rung] for where, rung in zip(at, state.rungs, strict=True)] for state in states], np.int8
        ).reshape(len(states), len(at))

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

    def faults(self, places: np.ndarray, bits: np.ndarray) -> list[tuple[str, ...]]:
        """Why no gear set carries each row; empty for legal ones."""
        keys = np.zeros((len(places), places.shape[1] + 2), np.uint8)
        keys[:, :-2] = np.sort(self._buckets[np.arange(places.shape[1]), places], axis=1)
        pieces = np.array(self.coding.piece_bits, dtype=np.int64)
        clashes = (np.bitwise_count(bits[:, None] & pieces) > 1).any(axis=1)
        # where no two need one gear piece, how many there are is all that matters
        kept = np.where(clashes, bits | CLASH, np.bitwise_count(bits))
        keys[:, -2], keys[:, -1] = kept & 255, kept >> 8
        found = []
        for at, key in enumerate(keys.view(f"V{keys.shape[1]}").reshape(-1).tolist()):
            faults = self._known.get(key)
            if faults is None:
                rungs = tuple(ladder[place] for ladder, place in zip(self._ladders, places[at].tolist(), strict=True))
                faults = self._known[key] = self.coding.state_faults(State(rungs, int(bits[at])))
            found.append(faults)
        return found

    def tokens(self, places: np.ndarray, bits: np.ndarray) -> Ragged:
        """The tokens of each row in rising order; `<NULL>` for rows without any."""
        ids, column, place, bit = self._of_token
        reached = places[:, column]
        holds = reached >= place if self.coding.encoding == "cumulative" else reached == place
        holds |= (bits[:, None] & bit) > 0
        if self.coding.null_id is not None:
            at = int(np.searchsorted(ids, self.coding.null_id))
            holds[:, at] = ~holds.any(axis=1)
        row, token = np.nonzero(holds)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(places)))]).astype(np.int64)
        return Ragged(ids[token].astype(np.int32), indptr)

    @cached_property
    def _buckets(self) -> np.ndarray:
        """A number for the bucket of each family and place, equal for equal buckets; 0 for absent, uint8."""
        known: dict[Any, int] = {None: 0}
        table = np.zeros((len(self._ladders), max(map(len, self._ladders), default=1)), np.uint8)
        for at, ladder in enumerate(self._ladders):
            for place, rung in enumerate(ladder):
                bucket = self.coding.bucket(at, rung) if rung else None
                table[at, place] = known.setdefault(bucket, len(known))
        return table

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
