"""Positions against lists of Python: the slow version picks from each row by ordinary indexing."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mechscope.core import UsageError
from mechscope.models import Batch
from mechscope.models.edits import Positions
from mechscope.models.positions import (
    PositionSet,
    every,
    from_left,
    from_right,
    marked,
    parse_positions,
    span,
    spans,
    tokens,
)
from mechscope.models.positions.sets import Occurrence

ROWS = [[5, 6, 7, 5, 8], [9, 5, 5], [7, 6, 5, 4]]
PADDED = 5  # the pad id is a token that is asked for: padding must never be found
SIDES = ["left", "right"]


def batch_of(rows: list[list[int]], side: str) -> Batch:
    return Batch.from_rows(rows, pad_id=PADDED, side="left" if side == "left" else "right")


def places(positions: Positions, batch: Batch) -> list[list[int]]:
    """The places found, row by row, counted over real tokens; fails when padding is found."""
    mask, real = positions.mask(batch), batch.attention_mask.bool()
    assert mask.dtype == torch.bool
    assert mask.shape == real.shape
    assert not bool((mask & ~real).any())
    return [torch.nonzero(row[kept]).flatten().tolist() for row, kept in zip(mask, real, strict=True)]


def slow(pick: Callable[[list[int]], list[int]]) -> list[list[int]]:
    return [sorted(set(pick(list(range(len(row)))))) for row in ROWS]


CASES: dict[str, tuple[PositionSet, Callable[[list[int]], list[int]]]] = {
    "every": (every(), lambda row: row),
    "last": (from_right(0), lambda row: [row[-1]]),
    "from right": (from_right(0, 2), lambda row: [row[-1], row[-3]]),
    "from left": (from_left(2, 0), lambda row: [row[0], row[2]]),
    "span": (span(1, 3), lambda row: row[1:3]),
    "span to the end": (span(1), lambda row: row[1:]),
    "span from the right": (span(-3, -1), lambda row: row[-3:-1]),
    "span across": (span(0, -2), lambda row: row[0:-2]),
    "union": (from_left(0) | span(-2), lambda row: [row[0], *row[-2:]]),
    "intersection": (span(0, 3) & span(-2), lambda row: [place for place in row[:3] if place in row[-2:]]),
    "complement": (~from_right(0), lambda row: row[:-1]),
    "nested": (~(from_left(0) | from_right(0)) & span(0, -1), lambda row: row[1:-1]),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", CASES)
def test_positions_are_those_of_plain_indexing(name: str, side: str) -> None:
    positions, pick = CASES[name]
    assert places(positions, batch_of(ROWS, side)) == slow(pick)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("occurrence", get_args(Occurrence))
def test_tokens_are_found_among_the_real_ones_only(occurrence: Occurrence, side: str) -> None:
    found = [[place for place, token in enumerate(row) if token in {5, 8}] for row in ROWS]
    wanted = {"all": found, "first": [row[:1] for row in found], "last": [row[-1:] for row in found]}[occurrence]
    assert places(tokens(5, 8, occurrence=occurrence), batch_of(ROWS, side)) == wanted


@pytest.mark.parametrize("side", SIDES)
def test_padding_that_holds_the_token_is_no_position(side: str) -> None:
    batch = batch_of(ROWS, side)
    assert bool((batch.input_ids[~batch.attention_mask.bool()] == 5).all())
    assert places(tokens(5), batch) == [[0, 3], [1, 2], [2]]


def test_a_row_without_the_token_is_named_unless_it_is_allowed() -> None:
    batch = batch_of(ROWS, "left")
    with pytest.raises(UsageError, match=r"positions tokens\(9.* in row 0, which has 5 tokens \(2 of 3 rows"):
        tokens(9).mask(batch)
    assert places(tokens(9, allow_missing=True), batch) == [[], [0], []]
    assert places(tokens(9, occurrence="last", allow_missing=True), batch) == [[], [0], []]


@pytest.mark.parametrize("side", SIDES)
def test_a_span_for_each_row(side: str) -> None:
    batch = batch_of(ROWS, side)
    assert places(spans([(0, 2), (-1, None), (1, -1)]), batch) == [[0, 1], [2], [1, 2]]
    with pytest.raises(UsageError, match=r"spans of 2 rows\nexpected: 3"):
        spans([(0, 1), (0, 1)]).mask(batch)
    with pytest.raises(UsageError, match=r"positions span\(2, 4\) in row 1, which has 3 tokens \(1 of 3 rows"):
        spans([(0, 1), (2, 4), (0, 1)]).mask(batch)


@pytest.mark.parametrize(
    ("positions", "row", "length"),
    [
        (from_left(4), 1, 3),
        (from_right(0, 3), 1, 3),
        (span(0, 4), 1, 3),
        (span(-4), 1, 3),
        (span(3, None), 1, 3),
        (span(2, -2), 1, 3),
        (from_left(0) | from_left(5), 0, 5),
        (~from_left(5), 0, 5),
    ],
)
def test_a_position_outside_of_a_row_is_refused_with_the_row_and_its_length(
    positions: PositionSet, row: int, length: int
) -> None:
    with pytest.raises(UsageError, match=rf"positions \w+\(.*\) in row {row}, which has {length} tokens"):
        positions.mask(batch_of(ROWS, "right"))


@pytest.mark.parametrize("make", [from_left, from_right, tokens, lambda: from_left(-1), lambda: from_right(0, -2)])
def test_no_place_and_places_below_zero_are_refused_at_once(make: Callable[[], PositionSet]) -> None:
    with pytest.raises(UsageError, match=r"expected: (places from 0 on|at least one token id)"):
        make()


@pytest.mark.parametrize("side", SIDES)
def test_marks_over_real_tokens_are_placed_by_the_mask(side: str) -> None:
    marks = [np.array([token == 5 for token in row]) for row in ROWS]
    batch = batch_of(ROWS, side)
    assert places(marked(marks), batch) == [[0, 3], [1, 2], [2]]
    assert torch.equal(marked(marks).mask(batch), tokens(5).mask(batch))
    assert torch.equal(marked(tokens(5).mask(batch)).mask(batch), tokens(5).mask(batch))
    assert places(marked([[False] * len(row) for row in ROWS]), batch) == [[], [], []]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[True] * 5, [True] * 3], "marks of 2 rows\nexpected: 3"),
        ([[True] * 5, [True] * 5, [True] * 4], r"marks of row 1: bool \[5\]\nexpected: 3 booleans"),
        ([np.ones(5), np.ones(3), np.ones(4)], r"marks of row 0: float64 \[5\]"),
        (torch.ones(3, 5, dtype=torch.bool), r"a mask of shape \[3, 5\], 15 marked\nexpected.*no padding"),
        (torch.ones(2, 5, dtype=torch.bool), r"a mask of shape \[2, 5\]"),
    ],
)
def test_marks_that_do_not_fit_are_refused(rows: Tensor | list[np.ndarray], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        marked(rows).mask(batch_of(ROWS, "right"))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("all", every()),
        ("first", from_left(0)),
        ("last", from_right(0)),
        ("2", from_left(2)),
        ("-1", from_right(0)),
        ("-3", from_right(2)),
        ("1-2", span(1, 3)),
        ("1:", span(1)),
        (":-1", span(0, -1)),
        ("-2:", span(-2)),
        ("token:5:first", tokens(5, occurrence="first")),
        ("token:5:last", tokens(5, occurrence="last")),
        ("0, last ,token:5", from_left(0) | from_right(0) | tokens(5)),
    ],
)
def test_positions_from_text(text: str, same: PositionSet) -> None:
    batch = batch_of(ROWS, "left")
    assert torch.equal(parse_positions(text).mask(batch), same.mask(batch))


@pytest.mark.parametrize("text", ["", "x", "2,", "1-", "token:", "token:a", "token:5:second", "2.5", "1:2:1", "--1"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected: 'all', 'first', 'last'"):
        parse_positions(text)


def test_a_range_the_wrong_way_holds_no_token() -> None:
    with pytest.raises(UsageError, match=r"span\(2, 2\) in row 0, which has 5"):
        parse_positions("2-1").mask(batch_of(ROWS, "left"))


def test_words_say_what_was_asked() -> None:
    assert str(~(from_left(0, 1) | tokens(3)) & span(-2)) == (
        "(~(from_left(0, 1) | tokens(3, occurrence='all')) & span(-2, None))"
    )


ragged = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=4)


@given(rows=ragged, side=st.sampled_from(SIDES), start=st.integers(-7, 7), stop=st.none() | st.integers(-7, 7))
def test_spans_are_python_slices_or_refused(rows: list[list[int]], side: str, start: int, stop: int | None) -> None:
    def fits(row: list[int]) -> bool:
        first = start + len(row) if start < 0 else start
        last = len(row) if stop is None else stop + len(row) if stop < 0 else stop
        return 0 <= first < last <= len(row)

    batch = batch_of(rows, side)
    if all(map(fits, rows)):
        assert places(span(start, stop), batch) == [list(range(len(row)))[start:stop] for row in rows]
    else:
        with pytest.raises(UsageError, match="expected: a span inside the row"):
            span(start, stop).mask(batch)


@given(rows=ragged, side=st.sampled_from(SIDES), wanted=st.sets(st.integers(0, 9), min_size=1, max_size=3))
def test_sets_of_positions_obey_de_morgan(rows: list[list[int]], side: str, wanted: set[int]) -> None:
    batch = batch_of(rows, side)
    one, two = tokens(*sorted(wanted), allow_missing=True), from_right(0)
    assert torch.equal((~(one | two)).mask(batch), (~one & ~two).mask(batch))
    assert torch.equal((~~one).mask(batch), one.mask(batch))
    assert [len(row) for row in places(one | ~one, batch)] == [len(row) for row in rows]
