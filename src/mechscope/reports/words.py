"""Tokens side by side as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["running_text"]

JUDGED_MIN = 4


def running_text(tokens: Sequence[str]) -> list[str]:
    """The tokens with the spaces that a word-level vocabulary leaves out.

    Tokens of a byte-level or similar vocabulary carry their spaces and come back as they are. Where at least
    `JUDGED_MIN` tokens hold no white space at all, they are words, and each but the first gets a space in front.
    """
    if len(tokens) < JUDGED_MIN or any(character.isspace() for token in tokens for character in token):
        return list(tokens)
    return [token if index == 0 else f" {token}" for index, token in enumerate(tokens)]
