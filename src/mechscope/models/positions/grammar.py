"""Positions written as text, for the command line and specs."""

from __future__ import annotations

import re
from functools import reduce

from mechscope.models.positions.sets import (
    Occurrence,
    PositionSet,
    every,
    from_left,
    from_right,
    span,
    tokens,
    wrong,
)

__all__ = ["parse_positions"]

NAMED = {"all": every(), "first": from_left(0), "last": from_right(0)}
OCCURRENCES: dict[str, Occurrence] = {"all": "all", "first": "first", "last": "last"}
FORMS = "'all', 'first', 'last', '3', '-2', '2-5' (inclusive), '1:-1', 'token:17' or 'token:17:first'"
_INDEX = re.compile(r"-?\d+")
_RANGE = re.compile(r"(\d+)-(\d+)")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?")
_TOKEN = re.compile(r"token:(\d+)(?::(first|last|all))?")


def parse_positions(text: str) -> PositionSet:
    """Positions from text; parts joined by commas are united.

    Args:
        text: `all`, `first`, `last`, a place (`3`; `-2` is the last but one), `2-5` (inclusive), a slice `1:-1`
            (without the end), `token:17`, `token:17:first`, `token:17:last`.

    Raises UsageError for anything else.
    """
    return reduce(lambda left, right: left | right, [_parsed(part.strip(), text) for part in text.split(",")])


def _parsed(part: str, whole: str) -> PositionSet:
    if part in NAMED:
        return NAMED[part]
    if _INDEX.fullmatch(part):
        return from_right(-1 - int(part)) if part.startswith("-") else from_left(int(part))
    if match := _RANGE.fullmatch(part):
        return span(int(match[1]), int(match[2]) + 1)
    if match := _TOKEN.fullmatch(part):
        return tokens(int(match[1]), occurrence=OCCURRENCES[match[2] or "all"])
    if match := _SLICE.fullmatch(part):
        return span(int(match[1] or 0), None if match[2] is None else int(match[2]))
    raise wrong(f"positions {part!r} in {whole!r}", FORMS, "write them in one of these ways, joined by commas")
