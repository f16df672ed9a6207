"""The tokens of one vocabulary as a state (rungs and main-only abilities), and back.

The shipped vocabulary has nine rungs a family; a vocabulary of somebody else's may have other ids and fewer rungs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from mechscope.corpora.domain import Family
from mechscope.corpora.domains.splatoon.abilities import FAMILIES, GEAR_PIECES, MAIN_ONLY, SHORT_NAMES, main_only_of
from mechscope.corpora.domains.splatoon.fitting import Bucket, bucket_of, slot_faults
from mechscope.corpora.domains.splatoon.points import POSSIBLE_POINTS, THRESHOLDS
from mechscope.corpora.domains.splatoon.vocabulary import NULL_TOKEN, Encoding

__all__ = ["State", "TokenCoding"]

CACHED_STATES = 1 << 18


class State(NamedTuple):
    """Rungs in the order of the coding's families (0: absent), and main-only abilities as bits in its order."""

    rungs: tuple[int, ...]
    main_only: int


class TokenCoding:
    """Reads and writes token sets. What was read or written once is remembered.

    Args:
        vocabulary: token id -> token.
        encoding: "cumulative" (a token for every rung reached) or "family" (one token a family).
    """

    def __init__(self, vocabulary: tuple[str, ...], encoding: Encoding) -> None:
        self.vocabulary, self.encoding = vocabulary, encoding
        self.ids = {token: index for index, token in enumerate(vocabulary)}
        families = (self._family(name) for name in FAMILIES)
        self.families = {family.name: family for family in families if family.rungs}
        self.main_only = {name: self.ids[name] for name in MAIN_ONLY if name in self.ids}
        self.null_id = self.ids.get(NULL_TOKEN)
        self.place = {name: at for at, name in enumerate(self.families)}
        self.bit = {name: 1 << at for at, name in enumerate(self.main_only)}
        self._piece_bits = {piece: sum(self.bit.get(name, 0) for name in main_only_of(piece)) for piece in GEAR_PIECES}
        self.rung_of_id = {
            self.ids[f"{family.name}_{rung}"]: (family.name, rung)
            for family in self.families.values()
            for rung in family.rungs
        }
        self.main_only_of_id = {index: name for name, index in self.main_only.items()}
        self._buckets = {
            (self.place[family.name], rung): bucket_of(rung, family.rungs)
            for family in self.families.values()
            for rung in family.rungs
        }
        self._tokens = {
            (self.place[family.name], rung): tokens
            for family in self.families.values()
            for rung, tokens in zip(family.rungs, family.tokens, strict=True)
        }
        self.read = lru_cache(CACHED_STATES)(self._read)
        self.write = lru_cache(CACHED_STATES)(self._write)
        self.state_faults = lru_cache(CACHED_STATES)(self._state_faults)

    @property
    def piece_bits(self) -> tuple[int, ...]:
        """The bits of the main-only abilities that need the main slot of each gear piece."""
        return tuple(self._piece_bits.values())

    def bucket(self, at: int, rung: int) -> Bucket:
        """The bucket of points of a rung of the family at that place."""
        return self._buckets[at, rung]

    def _family(self, name: str) -> Family:
        rungs = tuple(rung for rung in THRESHOLDS if f"{name}_{rung}" in self.ids)
        own = [self.ids[f"{name}_{rung}"] for rung in rungs]
        reached = [own[: at + 1] if self.encoding == "cumulative" else own[at : at + 1] for at in range(len(own))]
        return Family(name, rungs, tuple(map(tuple, reached)), values=POSSIBLE_POINTS[1:], short_name=SHORT_NAMES[name])

    def _read(self, tokens: tuple[int, ...]) -> tuple[State, tuple[str, ...]]:
        """The largest rung of each family with the main-only abilities, and what no encoding of a build looks like."""
        rungs, main_only = [0] * len(self.families), 0
        for token in tokens:
            if token in self.rung_of_id:
                family, rung = self.rung_of_id[token]
                rungs[self.place[family]] = max(rung, rungs[self.place[family]])
            elif token in self.main_only_of_id:
                main_only |= self.bit[self.main_only_of_id[token]]
        state = State(tuple(rungs), main_only)
        written = self.write(state)
        if tokens and len(tokens) == len(written) and set(tokens) == set(written):
            return state, ()
        wrong = self._strange(tokens)
        if not wrong and set(tokens) != set(written):
            wrong += self._gaps(set(tokens), state)
        return state, tuple(wrong)

    def _strange(self, tokens: tuple[int, ...]) -> list[str]:
        wrong = [] if tokens else [f"there is no token at all: an empty build is {NULL_TOKEN}"]
        if len(set(tokens)) != len(tokens):
            twice = sorted({token for token in tokens if tokens.count(token) > 1})
            wrong.append(f"the tokens {twice} come twice in a set")
        for token in sorted(set(tokens)):
            if not 0 <= token < len(self.vocabulary):
                wrong.append(f"there is no token {token} in a vocabulary of {len(self.vocabulary)}")
            elif token == self.null_id and len(tokens) > 1:
                wrong.append(f"{NULL_TOKEN} stands for an empty build, and other tokens are there")
            elif token != self.null_id and token not in self.rung_of_id and token not in self.main_only_of_id:
                wrong.append(f"{self.vocabulary[token]} is no ability that a context can hold")
        return wrong

    def _gaps(self, seen: set[int], state: State) -> list[str]:
        wrong = []
        for family in self.families.values():
            rung = state.rungs[self.place[family.name]]
            own = [r for r in family.rungs if self.ids[f"{family.name}_{r}"] in seen]
            if not rung or len(own) == len(self._tokens[self.place[family.name], rung]):
                continue
            if self.encoding == "cumulative":
                lacking = [r for r in family.rungs if r < rung and r not in own]
                wrong.append(f"{family.name} {rung} lacks its lower tokens {lacking}: the encoding is cumulative")
            else:
                wrong.append(f"{family.name} has the rungs {own}: the encoding has one token a family")
        return wrong

    def _write(self, state: State) -> tuple[int, ...]:
        """The tokens of a state in rising order; nothing at all is `<NULL>` where the vocabulary has it."""
        found = [token for at, rung in enumerate(state.rungs) if rung for token in self._tokens[at, rung]]
        found += [index for name, index in self.main_only.items() if state.main_only & self.bit[name]]
        empty = () if self.null_id is None else (self.null_id,)
        return tuple(sorted(found)) or empty

    def _state_faults(self, state: State) -> tuple[str, ...]:
        """Why no gear set has the state, some slots left empty; empty when one has."""
        wrong = []
        if not self.write(state):
            return (f"nothing is left, and the vocabulary has no {NULL_TOKEN}",)
        for piece, bits in self._piece_bits.items():
            if (state.main_only & bits).bit_count() > 1:
                names = [name for name in main_only_of(piece) if state.main_only & self.bit.get(name, 0)]
                wrong.append(f"{' and '.join(names)} both need the {piece} main slot: one ability a gear piece")
        if wrong:
            return tuple(wrong)
        buckets = sorted(self._buckets[at, rung] for at, rung in enumerate(state.rungs) if rung)
        return slot_faults(tuple(buckets), state.main_only.bit_count())
