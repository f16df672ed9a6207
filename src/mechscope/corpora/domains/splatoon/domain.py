"""Gear builds as a domain: legal changes of what a model was shown of a build.

A context holds the tokens that were shown, some slots perhaps emptied: it is legal when some gear set, full or not, has
exactly these rungs and main-only abilities. That a complete build contains it follows: an empty slot can always be
filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from mechscope.core import BadDataError, UsageError, unknown_name
from mechscope.corpora.corpus import Corpus
from mechscope.corpora.domain import Context, Family
from mechscope.corpora.domains.splatoon.changes import steps, switched
from mechscope.corpora.domains.splatoon.coding import State, TokenCoding
from mechscope.corpora.domains.splatoon.encoding import encoding_of_rows, family_ids
from mechscope.corpora.domains.splatoon.tables import BuildTable
from mechscope.corpora.domains.splatoon.vocabulary import VOCABULARY, Encoding
from mechscope.corpora.domains.splatoon.weapons import Weapon, weapon_vocabulary, weapons
from mechscope.corpora.domains.splatoon.wording import parse_tokens, split_weapon, state_words
from mechscope.corpora.substituted_rows import SubstitutedRows

__all__ = ["SplatoonDomain"]

WEAPON, WEAPON_INPUT = "weapon", "weapon_ids"
ATTRIBUTE_OF_COLUMN = {"weapon_class": "class"}


class SplatoonDomain:
    """Families of ability points, main-only abilities as binaries, and the weapon with its sub, special and class.

    Args:
        vocabulary: token id -> ability token.
        weapon_ids: weapon token (`weapon_id_<game id>`) -> index; empty for a model without weapons.
        encoding: "cumulative" (a token for every rung reached) or "family" (the largest alone).

    A substitution costs a few microseconds; states once seen are remembered (memory: about 1 kB each).

    Example:
        >>> domain = SplatoonDomain()
        >>> context = domain.parse("Splattershot: QR 12, comeback")
        >>> domain.render(domain.substitute(context, rungs={"quick_respawn": 21}, binaries={"comeback": False}))
        'Splattershot: QR 21'
    """

    name = "splatoon"

    def __init__(
        self,
        vocabulary: tuple[str, ...] = VOCABULARY,
        weapon_ids: Mapping[str, int] | None = None,
        *,
        encoding: Encoding = "cumulative",
    ) -> None:
        self._coding = TokenCoding(vocabulary, encoding)
        tokens = weapon_vocabulary() if weapon_ids is None else dict(weapon_ids)
        by_token = {kit.token: kit for kit in weapons()}
        ordered = sorted(tokens, key=lambda token: tokens[token])
        self._kits = tuple(by_token.get(token, Weapon(-1, token, "unknown", "unknown", "unknown")) for token in ordered)
        self._weapon_tokens = {token.lower(): index for index, token in enumerate(ordered)}
        names = tuple(kit.name for kit in self._kits)
        self._index = {name: index for index, name in enumerate(names)}
        self._table = BuildTable(self._coding)
        self.families: Mapping[str, Family] = self._coding.families
        self.binaries: Mapping[str, int] = self._coding.main_only
        self.groups: Mapping[str, tuple[str, ...]] = {WEAPON: names} if names else {}
        self.settable_groups: tuple[str, ...] = tuple(self.groups)
        self.attribute_group: str | None = WEAPON if names else None
        self.attributes: Mapping[str, Mapping[str, str]] = _kit_attributes(self._kits)

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """The domain of a corpus of builds: its vocabulary, its weapons, and the encoding that its facts state; where
        they state none, the one that its rows show.

        Raises:
            BadDataError: none of its tokens is an ability, its facts name another encoding, or rows contradict.
            UsageError: facts and rows do not tell the encoding.
        """
        encoding, weapon_ids = corpus.facts.get("encoding"), corpus.facts.get("weapon_vocabulary", {})
        if encoding is None:
            ids = {token: index for index, token in enumerate(corpus.vocabulary)}
            known = family_ids(ids)
            tokens = corpus.tokens
            encoding = "cumulative"
            if known:
                encoding = encoding_of_rows(tokens.indptr, tokens.ids, known, name=corpus.name)
        if encoding not in {"cumulative", "family"} or not isinstance(weapon_ids, Mapping):
            raise BadDataError(
                f"corpus {corpus.name!r} states the encoding {encoding!r}",
                expected="cumulative or family, and a weapon vocabulary",
                todo="make the corpus anew",
            )
        domain = cls(corpus.vocabulary, weapon_ids, encoding=encoding)
        if not domain.families and not domain.binaries:
            raise BadDataError(
                f"corpus {corpus.name!r} has no ability token among {len(corpus.vocabulary)}",
                expected="tokens such as quick_respawn_12 and comeback",
                todo="declare its families in a file instead",
            )
        return domain

    def rung(self, context: Context, family: str) -> int:
        """The largest rung of a family that is there, 0 when absent."""
        return self._coding.read(context.tokens)[0].rungs[self._place(family)]

    def has(self, context: Context, binary: str) -> bool:
        """Whether a main-only ability is there."""
        return bool(self._coding.read(context.tokens)[0].main_only & self._bit(binary))

    def group(self, context: Context, column: str) -> str:
        """The weapon's name, or its sub, special or class; "" without a weapon."""
        attribute = ATTRIBUTE_OF_COLUMN.get(column, column)
        if attribute not in self.attributes and attribute not in self.groups:
            raise unknown_name("group", column, [*self.groups, *self.attributes])
        index = context.inputs.get(WEAPON_INPUT, -1)
        if not 0 <= index < len(self._kits):
            return ""
        name = self._kits[index].name
        return name if attribute == WEAPON else self.attributes[attribute][name]

    def faults(self, context: Context) -> list[str]:
        """Why no gear set shows these tokens with this weapon, in words."""
        state, wrong = self._coding.read(context.tokens)
        return [*wrong, *(() if wrong else self._coding.state_faults(state)), *self._input_faults(context)]

    def faults_table(self, contexts: Sequence[Context]) -> list[Sequence[str]]:
        """`faults` of each context; where nothing is wrong about a microsecond each."""
        places, bits, is_plain = self._table.read(contexts)
        reasons = self._table.judge.reasons(places, bits)
        found: list[Sequence[str]] = []
        for at, context in enumerate(contexts):
            if not is_plain[at]:
                found.append(self.faults(context))
                continue
            why = self._table.judge.words(int(reasons[at]), places[at], int(bits[at])) if reasons[at] else ()
            found.append([*why, *self._input_faults(context)])
        return found

    def is_legal(self, context: Context) -> bool:
        """Whether some gear set, full or not, shows exactly these tokens."""
        return not self.faults(context)

    def substitute(
        self,
        context: Context,
        *,
        rungs: Mapping[str, int] = {},
        binaries: Mapping[str, bool] = {},
        groups: Mapping[str, str] = {},
        tokens_on: Sequence[int] = (),
        tokens_off: Sequence[int] = (),
    ) -> Context:
        """The context with other rungs, main-only abilities or another weapon; see `Domain.substitute`."""
        state, wrong = self._coding.read(context.tokens)
        if wrong:
            raise _illegal("the context to change", wrong)
        levels, main_only = list(state.rungs), state.main_only
        for family, rung in rungs.items():
            at = self._place(family)
            levels[at] = self.families[family].require_rung(rung)
        for name, is_there in binaries.items():
            main_only = main_only | self._bit(name) if is_there else main_only & ~self._bit(name)
        changed = State(tuple(levels), main_only)
        if tokens_on or tokens_off:
            changed = switched(changed, self._coding, tokens_on, tokens_off)
            self._require_agreement(changed, rungs, binaries, tokens_on, tokens_off)
        if faults := self._coding.state_faults(changed):
            raise _illegal(repr(state_words(changed, self._coding)), faults)
        result = Context(self._coding.write(changed), self._inputs(context, groups), context.row)
        if lacking := self._input_faults(result):
            raise _illegal(f"{self.render(result)!r}", lacking)
        return result

    def substitute_table(
        self, contexts: Sequence[Context], changes: Sequence[Mapping[str, Any]]
    ) -> SubstitutedRows | None:
        """Every change in every context, as arrays; see `TableDomain`. About a microsecond each."""
        places, bits, is_plain = self._table.read(contexts)
        given = {WEAPON_INPUT} if self._kits else set()
        for at in np.flatnonzero(~is_plain).tolist():
            state, wrong = self._coding.read(contexts[at].tokens)
            if wrong:
                return None
            places[at], bits[at] = self._table.places(state), state.main_only
        if any(context.inputs.keys() != given for context in contexts):
            return None
        for change in changes:
            for family, rung in change.get("rungs", {}).items():
                self._place(family)
                self.families[family].require_rung(rung)
            for name in change.get("binaries", {}):
                self._bit(name)
        weapons = None
        if self._kits and contexts:
            here = np.array([context.inputs[WEAPON_INPUT] for context in contexts], dtype=np.int64)
            weapons = [np.full_like(here, self._inputs(contexts[0], change["groups"])[WEAPON_INPUT])
                       if change.get("groups") else here for change in changes]  # fmt: skip
            if any(map(self._input_faults, contexts)):
                return None
        found = self._table.substituted(places, bits, changes)
        if found is None or weapons is None:
            return found
        given_to = np.zeros(len(found.tokens), np.int64)
        given_to[found.row] = np.stack(weapons)[found.change, found.context]
        return replace(found, inputs={WEAPON_INPUT: given_to})

    def neighbours(self, context: Context) -> Iterator[tuple[str, Context]]:
        """A rung up or down, a family in or out, a main-only ability in or out, another weapon; legal ones only."""
        state, wrong = self._coding.read(context.tokens)
        if faults := [*wrong, *self._input_faults(context)]:
            raise _illegal(f"{self.render(context)!r}", faults)
        for step, changed in steps(state, self._coding):
            if not self._coding.state_faults(changed):
                yield step, Context(self._coding.write(changed), context.inputs, context.row)
        here = self.group(context, WEAPON) if self.groups else ""
        for name in self._index if here else ():
            if name != here and not self._coding.state_faults(state):
                yield (
                    f"{WEAPON} {here} -> {name}",
                    Context(context.tokens, self._inputs(context, {WEAPON: name}), context.row),
                )

    def render(self, context: Context) -> str:
        """For example "Splattershot: QR 12, SCU 3, comeback". Tokens that are no build's are listed as they are."""
        state, wrong = self._coding.read(context.tokens)
        words = state_words(state, self._coding)
        if wrong:
            known = range(len(self._coding.vocabulary))
            words = ", ".join(self._coding.vocabulary[t] if t in known else f"<{t}>" for t in context.tokens)
        weapon = self.group(context, WEAPON) if self.groups else ""
        return f"{weapon}: {words}" if weapon else words

    def parse(self, text: str) -> Context:
        """From `render`'s words, or tokens with commas or spaces between them, a weapon token among them or not."""
        weapon, rest = split_weapon(text, tuple(self._index))
        words = rest.replace(",", " ").split()
        inputs = {WEAPON_INPUT: self._index[weapon]} if weapon else {}
        for word in [word for word in words if word.lower() in self._weapon_tokens]:
            inputs[WEAPON_INPUT] = self._weapon_tokens[word.lower()]
            words.remove(word)
        return Context(parse_tokens(words, self._coding), inputs)

    def _place(self, family: str) -> int:
        if family not in self._coding.place:
            raise unknown_name("ability family", family, self.families)
        return self._coding.place[family]

    def _bit(self, binary: str) -> int:
        if binary not in self._coding.bit:
            raise unknown_name("main-only ability", binary, self.binaries)
        return self._coding.bit[binary]

    def _input_faults(self, context: Context) -> list[str]:
        if not self._kits:
            return []
        index = context.inputs.get(WEAPON_INPUT)
        if index is None:
            return [f"it has no weapon: the model is given {WEAPON_INPUT} beside the tokens"]
        return [] if 0 <= index < len(self._kits) else [f"there is no weapon {index} of {len(self._kits)}"]

    def _inputs(self, context: Context, groups: Mapping[str, str]) -> Mapping[str, int]:
        if not groups:
            return context.inputs
        for column, name in groups.items():
            if column not in self.groups:
                raise unknown_name("group that can be changed", column, self.groups)
            if name not in self._index:
                raise unknown_name(column, name, self._index)
        return {**context.inputs, WEAPON_INPUT: self._index[groups[WEAPON]]}

    def _require_agreement(
        self,
        state: State,
        rungs: Mapping[str, int],
        binaries: Mapping[str, bool],
        on: Sequence[int],
        off: Sequence[int],
    ) -> None:
        tokens = set(self._coding.write(state))
        wrong = [f"{self._coding.vocabulary[token]} on" for token in on if token not in tokens]
        wrong += [f"{self._coding.vocabulary[token]} off" for token in off if token in tokens]
        wrong += [f"{family} {rung}" for family, rung in rungs.items() if state.rungs[self._place(family)] != rung]
        wrong += [f"{name} {'on' if there else 'off'}" for name, there in binaries.items()
                  if bool(state.main_only & self._bit(name)) != there]  # fmt: skip
        if wrong:
            raise UsageError(
                f"changes that contradict each other: {', '.join(wrong)} cannot hold beside the others",
                expected="changes that can all hold",
                todo="leave one of them out",
            )


def _kit_attributes(kits: Sequence[Weapon]) -> dict[str, dict[str, str]]:
    if not kits:
        return {}
    return {
        "sub": {kit.name: kit.sub for kit in kits},
        "special": {kit.name: kit.special for kit in kits},
        "class": {kit.name: kit.weapon_class for kit in kits},
    }


def _illegal(what: str, faults: Sequence[str]) -> UsageError:
    return UsageError(
        f"{what} is illegal: {'; '.join(faults)}",
        expected="tokens that some gear set shows: 57 AP in 3 mains and 9 subs, one main-only ability a gear piece",
        todo="lower a rung, take an ability away, or choose another base context",
    )
