"""A domain declared in a YAML file, for any vocabulary: what may stand in the file, and its strings as token ids.

    name: numbers
    families:
      number_word: {rungs: [" one", " two", " three", [" twenty", "-", "one"]]}
    binaries:
      exclaimed: {on: "!", off: "."}
    groups: [module]

A string is one token as the corpus shows it, leading space included, or several tokens if there is one shortest way to
cut it and the corpus has that sequence somewhere; a list names the tokens one by one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from mechscope.core import BadDataError, Spec, UsageError, unknown_name
from mechscope.corpora.corpus import Corpus

__all__ = ["BinaryDeclaration", "DomainDeclaration", "FamilyDeclaration", "TokenStrings"]

Written = str | tuple[str, ...]


class FamilyDeclaration(Spec):
    """One family.

    Attributes:
        rungs: what stands for each rung, in rising order; rung 1 is the first.
        coding: in sets, whether a rung's token stands alone ("single") or with those of the lower rungs ("cumulative").
        short_name: a shorter name.
    """

    rungs: Annotated[tuple[Written, ...], Field(min_length=2)]
    coding: Literal["single", "cumulative"] = "single"
    short_name: str = ""


class BinaryDeclaration(Spec):
    """Something there or not: token `on`; in texts, token `off` stands at its place when it is not."""

    on: str
    off: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _yaml_reads_on_as_true(cls, value: Any) -> Any:
        """YAML 1.1 takes the bare keys `on` and `off` for true and false."""
        words = {True: "on", False: "off"}
        is_read = isinstance(value, dict) and any(isinstance(key, bool) for key in value)
        return {words.get(key, key): token for key, token in value.items()} if is_read else value


class DomainDeclaration(Spec):
    """The file.

    Attributes:
        name: what the domain is called.
        families, binaries: by name.
        groups: row columns that group rows (source, author); by default those of role "group" or "document".
        inputs: group -> the input column (an integer a row) that tells the model its name; such groups can be changed.
        attribute_group: the group that `attributes` describe.
        attributes: row columns that say something about the names of that group (the sub of a weapon).
    """

    name: str = "declared"
    families: dict[str, FamilyDeclaration] = {}
    binaries: dict[str, BinaryDeclaration] = {}
    groups: tuple[str, ...] | None = None
    inputs: dict[str, str] = {}
    attribute_group: str | None = None
    attributes: tuple[str, ...] = ()


class TokenStrings:
    """The tokens of a corpus by the strings that show them."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._ids: dict[str, list[int]] = {}
        for index, shown in enumerate(corpus.vocabulary):
            self._ids.setdefault(shown, []).append(index)
        self._longest = max(map(len, corpus.vocabulary))

    def token(self, shown: str, where: str) -> int:
        """The id of one token. Raises NotFoundError with the nearest, and BadDataError when several show alike."""
        found = self._ids.get(shown, [])
        if not found:
            raise unknown_name(f"token in {where}", shown, self._ids)
        if len(found) > 1:
            raise BadDataError(
                f"{len(found)} tokens show as {shown!r} in {where}: {found[:6]}",
                expected="a string that one token alone shows as",
                todo="choose another string",
            )
        return found[0]

    def sequence(self, written: Written, where: str) -> tuple[int, ...]:
        """The ids of a string or of a list of tokens.

        Raises:
            NotFoundError: a string that no tokens of the vocabulary spell; the nearest token is offered.
            UsageError: an empty one; a string with two shortest ways to cut it, or one that the corpus never has.
        """
        if not written:
            raise UsageError(f"an empty rung in {where}", expected="a token or several", todo="write its tokens")
        if isinstance(written, tuple):
            return tuple(self.token(shown, where) for shown in written)
        if written in self._ids:
            return (self.token(written, where),)
        ways = self._shortest_cuts(written)
        if not ways:
            raise unknown_name(f"token in {where}", written, self._ids)
        cuts = [list(way) for way in ways]
        if len(ways) > 1:
            raise UsageError(
                f"{written!r} in {where} can be cut as {cuts[0]} or {cuts[1]}",
                expected="one token, or a string with one shortest cut",
                todo="write its tokens as a list",
            )
        ids = tuple(self.token(shown, where) for shown in ways[0])
        if not self._occurs(ids):
            raise UsageError(
                f"{written!r} in {where}, cut as {cuts[0]}, stands nowhere in corpus {self._corpus.name!r}",
                expected="tokens as the tokenizer makes them",
                todo="write its tokens as a list, or leave it out",
            )
        return ids

    def _shortest_cuts(self, text: str) -> list[tuple[str, ...]]:
        """The ways to cut a text into the fewest tokens; ways[i] holds those of the first i characters, two at most."""
        ways: list[list[tuple[str, ...]]] = [[()]]
        for end in range(1, len(text) + 1):
            found = [
                (*way, text[start:end])
                for start in range(max(0, end - self._longest), end)
                if text[start:end] in self._ids
                for way in ways[start]
            ]
            least = min(map(len, found), default=0)
            ways.append([way for way in found if len(way) == least][:2])
        return ways[-1]

    def _occurs(self, ids: tuple[int, ...]) -> bool:
        tokens = self._corpus.tokens
        starts = np.flatnonzero(tokens.ids == ids[0])
        row_end = tokens.indptr[np.searchsorted(tokens.indptr, starts, side="right")]
        starts = starts[starts + len(ids) <= row_end]
        is_there = np.ones(len(starts), dtype=bool)
        for offset, token in enumerate(ids):
            is_there &= tokens.ids[starts + offset] == token
        return bool(is_there.any())
