"""Positions: where in the rows an edit acts, counted over real tokens, whatever the side of the padding.

The place of a token is its number among the real tokens of its row, from 0. A place that a row does not have is refused,
with the row and its length; padding is never among the positions. Sets are joined by `|`, `&` and `~`:

    from_right(0)                            the last token of every row
    tokens(17, occurrence="first") & ~from_left(0)
    parse_positions("2-5,last")              the same from text

Cost of a mask: a few passes over [batch pos] integers, and one look at the result to refuse what does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mechscope.core import UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Positions

__all__ = ["PositionSet", "every", "from_left", "from_right", "marked", "parse_positions", "span", "spans", "tokens"]

FORMS = "'all', 'first', 'last', '3', '-2', '2-5' (inclusive), '1:-1', 'token:17' or 'token:17:first'"
_INDEX = re.compile(r"-?\d+")
_RANGE = re.compile(r"(\d+)-(\d+)")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?")
_TOKEN = re.compile(r"token:(\d+)(?::(first|last|all))?")


@dataclass(frozen=True, eq=False, repr=False)
class PositionSet:
    """Positions that can be joined with others; made by the functions of this module.

    Args:
        find: gives the mask [batch pos] of a batch, on its device.
        text: what was asked for, in words; `str()` gives it.
    """

    find: Callable[[Batch], Tensor]
    text: str

    def mask(self, batch: Batch) -> Bool[Tensor, "batch pos"]:
        """True at these positions. Raises UsageError for a position that a row does not have."""
        return self.find(batch)

    def __or__(self, other: Positions) -> PositionSet:
        return PositionSet(lambda batch: self.mask(batch) | other.mask(batch), f"({self} | {other})")

    def __and__(self, other: Positions) -> PositionSet:
        return PositionSet(lambda batch: self.mask(batch) & other.mask(batch), f"({self} & {other})")

    def __invert__(self) -> PositionSet:
        return PositionSet(lambda batch: batch.attention_mask.bool() & ~self.mask(batch), f"~{self}")

    def __repr__(self) -> str:
        return self.text


def every() -> PositionSet:
    """All real tokens; the padding is left out."""
    return PositionSet(lambda batch: batch.attention_mask.bool(), "every()")


def from_left(*places: int) -> PositionSet:
    """The tokens at these places, from 0. Raises UsageError for no place or one below 0."""
    return _counted("from_left", places, lambda batch: batch.position_ids)


def from_right(*places: int) -> PositionSet:
    """The tokens at these places from the end: 0 is the last one. Raises UsageError for no place or one below 0."""
    return _counted("from_right", places, lambda batch: _lengths(batch)[:, None] - 1 - batch.position_ids)


def span(start: int, stop: int | None = None) -> PositionSet:
    """The tokens from place `start` up to `stop`, which is left out, as in Python.

    Args:
        start, stop: below 0 they count from the end; a `stop` of None is the end. Unlike Python's slices a span that
            leaves a row is refused, and so is an empty one.
    """
    return _spanned(lambda n_rows: [(start, stop)] * n_rows, f"span({start}, {stop})")


def spans(rows: Sequence[tuple[int, int | None]]) -> PositionSet:
    """One span (start, stop) for each row of the batch, in its order; see `span`."""

    def of_rows(n_rows: int) -> Sequence[tuple[int, int | None]]:
        return _as_many(rows, n_rows, "spans")

    return _spanned(of_rows, f"spans of {len(rows)} rows")


def tokens(*ids: int, occurrence: Literal["all", "first", "last"] = "all", allow_missing: bool = False) -> PositionSet:
    """The places where one of these token ids stands.

    Args:
        ids: token ids; at least one.
        occurrence: all of them, or the first or last in each row (of all ids together).
        allow_missing: let rows without any of them have no position; else such a row raises UsageError.
    """
    text = f"tokens({', '.join(map(str, ids))}, occurrence={occurrence!r})"
    if not ids:
        raise _wrong("positions of no token", "at least one token id", "name the ids")

    def find(batch: Batch) -> Tensor:
        mask = torch.isin(batch.input_ids, torch.tensor(ids, device=batch.input_ids.device))
        mask &= batch.attention_mask.bool()
        if not allow_missing:
            _require_in_rows(mask.any(dim=1), batch, text, "a row with such a token", "or pass allow_missing=True")
        if occurrence == "first":
            mask &= mask.cumsum(dim=1) == 1
        elif occurrence == "last":
            mask &= mask.flip(1).cumsum(dim=1).flip(1) == 1
        return mask

    return PositionSet(find, text)


def marked(rows: Bool[Tensor, "batch pos"] | Sequence[np.ndarray | Sequence[bool]]) -> PositionSet:
    """Positions marked by hand or by a column of a corpus.

    Args:
        rows: for each row of the batch its booleans over its real tokens; or, as a tensor, a mask [batch pos] in the
            columns of the batch, which marks no padding.

    Raises (at the batch):
        UsageError: other rows or lengths than the batch's, values that are no booleans, or marked padding.
    """
    return PositionSet(lambda batch: _placed(rows, batch), f"marked({len(rows)} rows)")


def parse_positions(text: str) -> PositionSet:
    """Positions from text; parts joined by commas are united.

    Args:
        text: `all`, `first`, `last`, a place (`3`; `-2` is the last but one), `2-5` (inclusive), a slice `1:-1`
            (without the end), `token:17`, `token:17:first`, `token:17:last`.

    Raises UsageError for anything else.
    """
    return reduce(lambda left, right: left | right, [_parsed(part.strip(), text) for part in text.split(",")])


def _parsed(part: str, whole: str) -> PositionSet:
    named = {"all": every, "first": lambda: from_left(0), "last": lambda: from_right(0)}
    if part in named:
        return named[part]()
    if _INDEX.fullmatch(part):
        return from_right(-1 - int(part)) if part.startswith("-") else from_left(int(part))
    if match := _RANGE.fullmatch(part):
        return span(int(match[1]), int(match[2]) + 1)
    if match := _TOKEN.fullmatch(part):
        which = {None: "all", "first": "first", "last": "last", "all": "all"}
        return tokens(int(match[1]), occurrence=which[match[2]])  # type: ignore[arg-type]
    if match := _SLICE.fullmatch(part):
        return span(int(match[1] or 0), None if match[2] is None else int(match[2]))
    raise _wrong(f"positions {part!r} in {whole!r}", FORMS, "write them in one of these ways, joined by commas")
