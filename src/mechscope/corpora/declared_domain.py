"""A domain for any corpus: families and binaries declared in a file, groups from the columns of the rows.

What is legal is little here, since no grammar is known: tokens of the vocabulary, in sets families as their coding
writes them, inputs that some row has, and no text longer than the longest row. A declared rung should fit in the place
of every other ("one cat", "two cat" is the author's affair).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, Self

from mechscope.core import UsageError, unknown_name
from mechscope.corpora.corpus import Corpus
from mechscope.corpora.domain import Context, Family
from mechscope.corpora.domain_changes import SetTokens, TextTokens, TokenRules
from mechscope.corpora.domain_declaration import (
    BinaryDeclaration,
    DomainDeclaration,
    FamilyDeclaration,
    TokenStrings,
)
from mechscope.corpora.domain_groups import read_groups
from mechscope.corpora.domain_words import TokenWords

__all__ = ["DeclaredDomain"]

CACHED_ANSWERS = 1 << 18
RUNG_NUMBER = re.compile(r"_(\d+)$")


class DeclaredDomain:
    """Families, binaries and groups of a declaration over a corpus.

    Args:
        corpus: gives the vocabulary, the columns and the greatest length.
        declaration: what was declared; by default no family at all.

    Raises:
        NotFoundError: a token or column that the corpus does not have, with the nearest one.
        UsageError: a rung that stands twice, or that is not one token in a corpus of sets.
    """

    def __init__(self, corpus: Corpus, declaration: DomainDeclaration | None = None) -> None:
        declared = declaration or DomainDeclaration(name="plain")
        strings = TokenStrings(corpus)
        self.name = declared.name
        self._vocabulary, self._pad_id = corpus.vocabulary, corpus.pad_id
        self._words = TokenWords(corpus.vocabulary)
        self._most_tokens = int(corpus.tokens.lengths.max())
        self._is_set = corpus.kind == "set"
        self.families: Mapping[str, Family] = {
            name: _family(name, family, strings, is_set=self._is_set) for name, family in declared.families.items()
        }
        switches = {name: _switch(name, binary, strings) for name, binary in declared.binaries.items()}
        _require_distinct(self.families, switches, corpus)
        self.binaries: Mapping[str, int] = {name: on for name, (on, _) in switches.items()}
        self._rules: TokenRules = SetTokens(switches, self.families) if self._is_set else TextTokens(switches)
        self._groups = read_groups(corpus, declared)
        self.groups: Mapping[str, tuple[str, ...]] = self._groups.names
        self.settable_groups: tuple[str, ...] = tuple(self._groups.inputs)
        self.attribute_group: str | None = self._groups.attribute_group
        self.attributes: Mapping[str, Mapping[str, str]] = self._groups.attributes
        self._rung = lru_cache(CACHED_ANSWERS)(self._rules.rung)
        self._token_faults = lru_cache(CACHED_ANSWERS)(self._read_faults)

    @classmethod
    def read(cls, corpus: Corpus, path: Path) -> Self:
        """The domain declared in a YAML file. Raises NotFoundError or UsageError, an unknown key by name."""
        return cls(corpus, DomainDeclaration.read(path))

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """The domain that the facts declare (`token_families`, `binary_tokens`, `encoding`), or a plain one."""
        families, binaries = corpus.facts.get("token_families"), corpus.facts.get("binary_tokens")
        coding: Literal["single", "cumulative"] = "single" if corpus.facts.get("encoding") == "family" else "cumulative"
        return cls(
            corpus,
            DomainDeclaration(
                name=str(corpus.facts.get("domain", "plain")),
                families={
                    str(name): FamilyDeclaration(rungs=tuple(map(str, tokens)), coding=coding)
                    for name, tokens in (families.items() if isinstance(families, Mapping) else ())
                    if len(tokens) > 1
                },
                binaries={
                    str(token): BinaryDeclaration(on=str(token))
                    for token in (binaries if isinstance(binaries, list | tuple) else ())
                },
            ),
        )

    def rung(self, context: Context, family: str) -> int:
        """The rung of a family: in texts at its first place, in sets the largest; 0 when absent."""
        return self._rung(context.tokens, self._family(family))

    def has(self, context: Context, binary: str) -> bool:
        """Whether a binary is there; in texts, whether its on token comes before its off token."""
        return self._rules.has(context.tokens, self._binary(binary))

    def group(self, context: Context, column: str) -> str:
        """The name in a group or attribute: by the inputs where the model is told it, else that of the row."""
        groups = self._groups
        if column in self.attributes and self.attribute_group is not None:
            name = self.group(context, self.attribute_group)
            return self.attributes[column][name] if name else ""
        if column not in self.groups:
            raise unknown_name("group", column, [*self.groups, *self.attributes])
        if column in groups.inputs:
            source, _ = groups.inputs[column]
            return groups.name_of_input[column].get(context.inputs.get(source, -1), "")
        return str(groups.of_row[column][context.row]) if 0 <= context.row < len(groups.of_row[column]) else ""

    def faults(self, context: Context) -> list[str]:
        """What is known to be wrong with the context, in words."""
        return [*self._token_faults(context.tokens), *self._groups.input_faults(context.inputs)]

    def is_legal(self, context: Context) -> bool:
        """Whether nothing is known to be wrong with the context."""
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
        """The context with rungs and binaries rewritten in place; see `Domain.substitute`. Tokens: binaries alone."""
        switched = self._switched(binaries, tokens_on, tokens_off)
        tokens = context.tokens
        for name, rung in rungs.items():
            family = self._family(name)
            tokens = self._rules.with_rung(tokens, family, family.require_rung(rung))
        for name, is_there in switched.items():
            tokens = self._rules.with_binary(tokens, self._binary(name), is_there)
        inputs = dict(context.inputs)
        for column, name in groups.items():
            if column not in self._groups.inputs:
                raise self._unsettable(column)
            source, ids = self._groups.inputs[column]
            if name not in ids:
                raise unknown_name(column, name, ids)
            inputs[source] = ids[name]
        changed = Context(tokens, inputs, context.row)
        if wrong := self.faults(changed):
            raise UsageError(
                f"{self.render(changed)!r} is illegal: {'; '.join(wrong)}",
                expected="tokens and inputs such as the rows have",
                todo="change something else, or choose another context",
            )
        return changed

    def neighbours(self, context: Context) -> Iterator[tuple[str, Context]]:
        """A family one rung up or down, a binary switched, another name of a group that the model is told."""
        for step, change in self._steps(context):
            try:
                changed = change()
            except UsageError:  # the step is illegal here, and only legal ones are asked for
                continue
            yield step, changed

    def render(self, context: Context) -> str:
        """The tokens with `|` between them, behind the inputs: "[weapon_ids=7] one| two"."""
        return self._words.render(context)

    def parse(self, text: str) -> Context:
        """From `render`'s words."""
        return self._words.parse(text)

    def _family(self, name: str) -> Family:
        if name not in self.families:
            raise unknown_name("family", name, self.families)
        return self.families[name]

    def _binary(self, name: str) -> str:
        if name not in self.binaries:
            raise unknown_name("binary", name, self.binaries)
        return name

    def _unsettable(self, column: str) -> UsageError:
        if column not in self.groups:
            raise unknown_name("group", column, self.groups)
        return UsageError(
            f"{column} cannot be changed: it is a fact about the row, and the model is not told it",
            expected=f"one of: {', '.join(self.settable_groups) or 'none in this domain'}",
            todo="compare rows by it instead, or declare its input column under `inputs`",
        )

    def _switched(self, binaries: Mapping[str, bool], on: Sequence[int], off: Sequence[int]) -> dict[str, bool]:
        name_of = {token: name for name, token in self.binaries.items()}
        switched = dict(binaries)
        for token, is_there in [*((t, True) for t in on), *((t, False) for t in off)]:
            if token not in name_of:
                raise UsageError(
                    f"token {token} cannot be switched",
                    expected=f"the token of a binary: {', '.join(self.binaries) or 'none is declared'}",
                    todo="declare it as a binary",
                )
            if switched.setdefault(name_of[token], is_there) != is_there:
                raise UsageError(
                    f"changes that contradict each other: {name_of[token]} is to be there and not to be there",
                    expected="changes that can all hold",
                    todo="leave one of them out",
                )
        return switched

    def _read_faults(self, tokens: tuple[int, ...]) -> tuple[str, ...]:
        wrong = [] if tokens else ["there is no token at all"]
        strange = [token for token in tokens if not 0 <= token < len(self._vocabulary)]
        if strange:
            wrong.append(f"there is no token {strange[0]} in a vocabulary of {len(self._vocabulary)}")
        if self._pad_id is not None and self._is_set and self._pad_id in tokens:
            wrong.append(f"{self._vocabulary[self._pad_id]} pads a batch, and a context has no padding")
        if not self._is_set and len(tokens) > self._most_tokens:
            wrong.append(f"it has {len(tokens)} tokens: the longest row has {self._most_tokens}")
        return (*wrong, *self._rules.faults(tokens))

    def _steps(self, context: Context) -> Iterator[tuple[str, Callable[[], Context]]]:
        for family in self.families.values():
            ladder = (0, *family.rungs)
            at = ladder.index(self.rung(context, family.name))
            for there in (*ladder[max(0, at - 1) : at], *ladder[at + 1 : at + 2]):
                step = f"{family.name} {family.rung_name(ladder[at])} -> {family.rung_name(there)}"
                yield step, partial(self.substitute, context, rungs={family.name: there})
        for name in self.binaries:
            is_there = self.has(context, name)
            step = f"{name} {'on -> off' if is_there else 'off -> on'}"
            yield step, partial(self.substitute, context, binaries={name: not is_there})
        for column in self.settable_groups:
            here = self.group(context, column)
            for name in self._groups.inputs[column][1]:
                if name != here:
                    yield f"{column} {here} -> {name}", partial(self.substitute, context, groups={column: name})


def _family(name: str, declared: FamilyDeclaration, strings: TokenStrings, *, is_set: bool) -> Family:
    written = [strings.sequence(rung, f"family {name!r}") for rung in declared.rungs]
    if is_set and (long := [rung for rung, ids in zip(declared.rungs, written, strict=True) if len(ids) > 1]):
        raise UsageError(
            f"rung {long[0]!r} of family {name!r} is several tokens",
            expected="one token a rung in a corpus of sets",
            todo="choose single tokens",
        )
    if not is_set and declared.coding == "cumulative":
        raise UsageError(
            f"family {name!r} has cumulative coding in a corpus of texts",
            expected="single coding: a word stands in the place of another",
            todo="leave `coding` out",
        )
    reached = [sum(written[: at + 1], ()) if declared.coding == "cumulative" else ids for at, ids in enumerate(written)]
    names = tuple(rung if isinstance(rung, str) else "".join(rung) for rung in declared.rungs)
    numbers = [int(found[1]) for rung in names if (found := RUNG_NUMBER.search(rung))] if is_set else []
    if len(numbers) == len(names) and numbers == sorted(set(numbers)) and numbers[0] > 0:
        return Family(name, tuple(numbers), tuple(reached), short_name=declared.short_name)
    labels = tuple(range(1, len(names) + 1))
    return Family(name, labels, tuple(reached), names=names, short_name=declared.short_name)


def _switch(name: str, declared: BinaryDeclaration, strings: TokenStrings) -> tuple[int, int | None]:
    where = f"binary {name!r}"
    return strings.token(declared.on, where), None if declared.off is None else strings.token(declared.off, where)


def _require_distinct(
    families: Mapping[str, Family], switches: Mapping[str, tuple[int, int | None]], corpus: Corpus
) -> None:
    """Raise UsageError when something declared stands for two things."""
    owner: dict[tuple[int, ...], str] = {}
    own = corpus.kind == "set"
    declared = [(ids[-1:] if own else ids, name) for name, f in families.items() for ids in f.tokens]
    declared += [((token,), name) for name, pair in switches.items() for token in pair if token is not None]
    for ids, name in declared:
        if ids in owner:
            shown = "".join(corpus.vocabulary[token] for token in ids)
            raise UsageError(
                f"{shown!r} is declared twice: in {owner[ids]!r} and in {name!r}",
                expected="each token or sequence declared once",
                todo="take one of them out",
            )
        owner[ids] = name
