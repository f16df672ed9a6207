"""Sets of positions, counted over real tokens, whatever the side of the padding.

The place of a token is its number among the real tokens of its row, from 0. A place that a row does not have is
refused, with the row and its length; padding is never among the positions. Sets are joined by `|`, `&` and `~`:

    from_right(0)                                    the last token of every row
    tokens(17, occurrence="first") & ~from_left(0)   the first 17 of every row, unless the row begins with it

Cost of a mask: a few passes over [batch pos] integers, and one look at the result to refuse what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from mechscope.core import UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Positions

__all__ = [
    "Occurrence",
    "PositionSet",
    "as_many",
    "every",
    "from_left",
    "from_right",
    "lengths",
    "span",
    "spans",
    "tokens",
    "wrong",
]

Occurrence: TypeAlias = Literal["all", "first", "last"]

OTHERS = "or choose other positions"
Row = TypeVar("Row")


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
    return _counted("from_left", places, lambda batch: batch.position_ids, may_wait=True)


def from_right(*places: int) -> PositionSet:
    """The tokens at these places from the end: 0 is the last one. Raises UsageError for no place or one below 0."""
    return _counted("from_right", places, lambda batch: lengths(batch)[:, None] - 1 - batch.position_ids)


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
        return as_many(rows, n_rows, "spans")

    return _spanned(of_rows, f"spans of {len(rows)} rows")


def tokens(*ids: int, occurrence: Occurrence = "all", allow_missing: bool = False) -> PositionSet:
    """The places where one of these token ids stands.

    Args:
        ids: token ids; at least one.
        occurrence: all of them, or the first or last in each row (of all ids together).
        allow_missing: let rows without any of them have no position; else such a row raises UsageError.
    """
    text = f"tokens({', '.join(map(str, ids))}, occurrence={occurrence!r})"
    if not ids:
        raise wrong("positions of no token", "at least one token id", "name the ids")

    def find(batch: Batch) -> Tensor:
        mask = torch.isin(batch.input_ids, torch.tensor(ids, device=batch.input_ids.device))
        mask &= batch.attention_mask.bool()
        if not allow_missing and not batch.n_to_come:
            _require_in_rows(mask.any(dim=1), batch, text, "a row with such a token", "or pass allow_missing=True")
        if occurrence == "first":
            mask &= mask.cumsum(dim=1) == 1
        elif occurrence == "last":
            mask &= mask.flip(1).cumsum(dim=1).flip(1) == 1
        return mask

    return PositionSet(find, text)


def _counted(
    name: str, places: tuple[int, ...], count: Callable[[Batch], Tensor], *, may_wait: bool = False
) -> PositionSet:
    text = f"{name}({', '.join(map(str, places))})"
    if not places or min(places) < 0:
        raise wrong(f"positions {text}", "places from 0 on", "count from the other side, or name a place")

    def find(batch: Batch) -> Tensor:
        fits = lengths(batch) + (batch.n_to_come if may_wait else 0) > max(places)
        _require_in_rows(fits, batch, text, f"at least {max(places) + 1} tokens in every row")
        wanted = torch.tensor(places, device=batch.input_ids.device)
        return torch.isin(count(batch), wanted) & batch.attention_mask.bool()

    return PositionSet(find, text)


def _spanned(of_rows: Callable[[int], Sequence[tuple[int, int | None]]], text: str) -> PositionSet:
    def find(batch: Batch) -> Tensor:
        n_tokens, place = lengths(batch), batch.position_ids
        asked = of_rows(batch.n_rows)
        start = torch.tensor([first for first, _ in asked], device=place.device)
        stop = torch.tensor([0 if end is None else end for _, end in asked], device=place.device)
        is_open = torch.tensor([end is None for _, end in asked], device=place.device)
        start = torch.where(start < 0, start + n_tokens, start)
        stop = torch.where(is_open | (stop < 0), stop + n_tokens, stop)
        fits = (start >= 0) & (start < stop) & (stop <= n_tokens + batch.n_to_come)
        waits = is_open & (start >= n_tokens) & (start < n_tokens + batch.n_to_come)
        fits |= waits
        _require_in_rows(fits, batch, [f"span{one}" for one in asked], "a span inside the row that holds a token")
        return (place >= start[:, None]) & (place < stop[:, None]) & batch.attention_mask.bool()

    return PositionSet(find, text)


def lengths(batch: Batch) -> Int64[Tensor, "batch"]:
    """Real tokens in each row, with those that came before in a generation, as `position_ids` counts them."""
    n_tokens = batch.attention_mask.sum(dim=1)
    return n_tokens if batch.n_before is None else n_tokens + batch.n_before


def as_many(rows: Sequence[Row], n_rows: int, what: str) -> Sequence[Row]:
    """`rows`, if there are as many as the batch has. Raises UsageError."""
    if len(rows) == n_rows:
        return rows
    raise wrong(f"{what} of {len(rows)} rows", f"{n_rows}, the rows of the batch", "give one for each row")


def _require_in_rows(
    fits: Bool[Tensor, "batch"], batch: Batch, asked: str | list[str], expected: str, more: str = OTHERS
) -> None:
    if bool(fits.all()):
        return
    row = int((~fits).nonzero()[0])
    what = asked if isinstance(asked, str) else asked[row]
    raise wrong(
        f"positions {what} in row {row}, which has {int(lengths(batch)[row])} tokens"
        f" ({int((~fits).sum())} of {batch.n_rows} rows do not have them)",
        expected,
        f"leave such rows out of the batch {more}",
    )


def wrong(seen: str, expected: str, todo: str) -> UsageError:
    """The error of positions that cannot be."""
    return UsageError(seen, expected=expected, todo=todo)
