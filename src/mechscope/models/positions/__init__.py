"""Positions: where in the rows an edit acts; made by functions, joined by `|`, `&` and `~`, or parsed from text."""

from mechscope.models.positions.grammar import parse_positions
from mechscope.models.positions.marks import marked
from mechscope.models.positions.sets import (
    PositionSet,
    every,
    from_left,
    from_right,
    span,
    spans,
    tokens,
)

__all__ = [
    "PositionSet",
    "every",
    "from_left",
    "from_right",
    "marked",
    "parse_positions",
    "span",
    "spans",
    "tokens",
]
