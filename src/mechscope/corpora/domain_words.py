"""Any context in words and back: shown tokens with `|` between them, behind the inputs in brackets."""

from __future__ import annotations

import re
from collections import Counter

from mechscope.core import UsageError, unknown_name
from mechscope.corpora.domain import Context

__all__ = ["TokenWords"]

INPUTS = re.compile(r"^\[(\w+=-?\d+(?: \w+=-?\d+)*)\] ?")
PIECE = re.compile(r"(?:[^|\\]|\\.)+", re.DOTALL)
BY_ID = re.compile(r"^<#(-?\d+)>$")


class TokenWords:
    """Contexts of one vocabulary in words: "[weapon_ids=7] one| two".

    In a token, `|` and a backslash stand behind a backslash, and a line end is `\\n`. A token that is not the only one
    to show as it does, or that shows as nothing, is written by its id: `<#12>`.
    """

    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        counts = Counter(vocabulary)
        self._ids = {shown: index for index, shown in enumerate(vocabulary)}
        self._n_alike = counts
        self._written = [
            _escaped(shown) if shown and counts[shown] == 1 else f"<#{index}>" for index, shown in enumerate(vocabulary)
        ]

    def render(self, context: Context) -> str:
        """The context in words; ids outside of the vocabulary show as `<#id>`."""
        known = range(len(self._written))
        body = "|".join(self._written[token] if token in known else f"<#{token}>" for token in context.tokens)
        inputs = " ".join(f"{name}={value}" for name, value in sorted(context.inputs.items()))
        return f"[{inputs}] {body}" if inputs else body

    def parse(self, text: str) -> Context:
        """The context of `render`'s words, or of tokens with `|` between them.

        Raises NotFoundError for an unknown token, with the nearest one, and UsageError for one of several alike.
        """
        inputs: dict[str, int] = {}
        if match := INPUTS.match(text):
            inputs = {name: int(value) for name, value in (pair.split("=") for pair in match[1].split(" "))}
            text = text[match.end() :]
        return Context(tuple(self._token(piece) for piece in PIECE.findall(text)), inputs)

    def _token(self, piece: str) -> int:
        if by_id := BY_ID.match(piece):
            return int(by_id[1])
        shown = re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], piece, flags=re.DOTALL)
        if shown not in self._ids:
            raise unknown_name("token", shown, self._ids)
        if self._n_alike[shown] > 1:
            raise UsageError(
                f"{self._n_alike[shown]} tokens show as {shown!r}",
                expected="a token, or the id of one",
                todo=f"write its id, for example <#{self._ids[shown]}>",
            )
        return self._ids[shown]


def _escaped(shown: str) -> str:
    plain = shown.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "\\n")
    # Otherwise it would read as an id, or as inputs.
    return f"\\{plain}" if BY_ID.match(plain) or plain.startswith("[") else plain
