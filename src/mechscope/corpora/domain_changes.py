"""How declared families and binaries are read from tokens and written back: in texts by place, in sets by presence.

text   the FIRST place where a rung of the family stands tells the rung, and is where another rung is put. A family
       that stands nowhere has no place, so it cannot be added; taking words out of a text is refused too.
set    the largest rung present is the rung; single coding has one token a family, cumulative all lower ones too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mechscope.core import UsageError
from mechscope.corpora.domain import Family

__all__ = ["SetTokens", "TextTokens", "TokenRules"]

Tokens = tuple[int, ...]


class TokenRules(Protocol):
    """Reading and changing the tokens of one kind of corpus. Every change raises UsageError where it has no place."""

    def rung(self, tokens: Tokens, family: Family) -> int:
        """The rung of a family, 0 when absent."""
        ...

    def has(self, tokens: Tokens, binary: str) -> bool:
        """Whether a binary is there."""
        ...

    def with_rung(self, tokens: Tokens, family: Family, rung: int) -> Tokens:
        """The tokens with a family at another rung."""
        ...

    def with_binary(self, tokens: Tokens, binary: str, is_there: bool) -> Tokens:
        """The tokens with a binary there or not."""
        ...

    def faults(self, tokens: Tokens) -> list[str]:
        """What no row of this kind looks like, in words."""
        ...


class TextTokens:
    """Texts. `switches` has the on and off token of each binary (off None: it can only be read)."""

    def __init__(self, switches: Mapping[str, tuple[int, int | None]]) -> None:
        self._switches = switches

    def rung(self, tokens: Tokens, family: Family) -> int:
        """The rung at the first place."""
        return self._first(tokens, family)[1]

    def has(self, tokens: Tokens, binary: str) -> bool:
        """Whether the first of the two tokens in the text is the on token."""
        return self._place(tokens, binary)[1]

    def with_rung(self, tokens: Tokens, family: Family, rung: int) -> Tokens:
        """The tokens with the first place rewritten."""
        at, here = self._first(tokens, family)
        if rung == here:
            return tokens
        if not rung or not here:
            seen = "stands nowhere in the text" if not here else "cannot be taken out of a text"
            raise UsageError(
                f"{family.name} {seen}",
                expected=f"a text with one of {', '.join(family.names)}, and a rung above 0",
                todo="take another text, or another rung",
            )
        old, new = (family.tokens[family.rungs.index(r)] for r in (here, rung))
        return (*tokens[:at], *new, *tokens[at + len(old) :])

    def with_binary(self, tokens: Tokens, binary: str, is_there: bool) -> Tokens:
        """The tokens with the first on token in place of the off token, or the other way round."""
        at, here = self._place(tokens, binary)
        if here == is_there:
            return tokens
        on, off = self._switches[binary]
        if at < 0 or off is None:
            raise UsageError(
                f"{binary} has no place in the text" if at < 0 else f"{binary} has no token that stands in its place",
                expected="a text with its on or off token, both declared",
                todo="take another text, or declare `off`",
            )
        return (*tokens[:at], on if is_there else off, *tokens[at + 1 :])

    def faults(self, tokens: Tokens) -> list[str]:
        """Any order of tokens is a text."""
        return []

    def _first(self, tokens: Tokens, family: Family) -> tuple[int, int]:
        firsts = {written[0] for written in family.tokens}
        for at, token in enumerate(tokens):
            if token not in firsts:
                continue
            here = [(len(written), rung) for rung, written in zip(family.rungs, family.tokens, strict=True)
                    if tokens[at : at + len(written)] == written]  # fmt: skip
            if here:
                return at, max(here)[1]
        return -1, 0

    def _place(self, tokens: Tokens, binary: str) -> tuple[int, bool]:
        switch = self._switches[binary]
        return next(((at, token == switch[0]) for at, token in enumerate(tokens) if token in switch), (-1, False))


class SetTokens:
    """Sets. `own` has the token of each rung of a family, without the lower ones that cumulative coding brings."""

    def __init__(self, switches: Mapping[str, tuple[int, int | None]], families: Mapping[str, Family]) -> None:
        self._switches, self._families = switches, families
        self._own = {name: [written[-1] for written in family.tokens] for name, family in families.items()}

    def rung(self, tokens: Tokens, family: Family) -> int:
        """The largest rung present."""
        own = self._own[family.name]
        return max((r for r, token in zip(family.rungs, own, strict=True) if token in tokens), default=0)

    def has(self, tokens: Tokens, binary: str) -> bool:
        """Whether its token is present."""
        return self._switches[binary][0] in tokens

    def with_rung(self, tokens: Tokens, family: Family, rung: int) -> Tokens:
        """The tokens without those of the family, and with those of the rung."""
        kept = set(tokens) - set(self._own[family.name])
        return tuple(sorted(kept | set(family.tokens[family.rungs.index(rung)] if rung else ())))

    def with_binary(self, tokens: Tokens, binary: str, is_there: bool) -> Tokens:
        """The tokens with its on token in or out, and its off token, if it has one, the other way round."""
        on, off = self._switches[binary]
        new, old = ({on}, {off}) if is_there else ({off}, {on})
        if self.has(tokens, binary) == is_there:
            return tokens
        return tuple(sorted(token for token in (set(tokens) - old) | new if token is not None))

    def faults(self, tokens: Tokens) -> list[str]:
        """Tokens that come twice, and families whose tokens their coding never writes."""
        wrong = ["a token comes twice in a set"] if len(set(tokens)) < len(tokens) else []
        for name, family in self._families.items():
            rung = self.rung(tokens, family)
            seen = set(tokens) & set(self._own[name])
            if rung and seen != set(family.tokens[family.rungs.index(rung)]):
                held = [family.rung_name(r) for r, token in zip(family.rungs, self._own[name], strict=True)
                        if token in seen]  # fmt: skip
                wrong.append(f"{name} has {' and '.join(held)}: its coding never writes them together alone")
        return wrong
