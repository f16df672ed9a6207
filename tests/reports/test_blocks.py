"""Blocks refuse what they cannot show, and survive JSON."""

import pytest

from mechscope.core import UsageError
from mechscope.reports import Column, Estimate, Example, Examples, FeatureCard, Figure, KeyFigure, Table, Token, Verdict
from mechscope.reports.examples_html import examples_html


def test_a_key_figure_must_say_how_it_was_obtained() -> None:
    with pytest.raises(UsageError, match="how"):
        KeyFigure.parse({"label": "FVU", "value": 0.1, "how": ""})


def test_an_estimate_has_both_ends_in_order() -> None:
    with pytest.raises(UsageError, match="both ends"):
        Estimate.parse({"value": 1.0, "low": 0.5})
    with pytest.raises(UsageError, match="above its high end"):
        Estimate.parse({"value": 1.0, "low": 0.5, "high": 0.4})


def test_a_row_fits_the_columns() -> None:
    with pytest.raises(UsageError, match="row 0 has 2 cells for 1 columns"):
        Table.parse({"columns": [{"name": "a"}], "rows": [["x", "y"]]})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {1, 2}])
def test_a_figure_holds_plain_finite_json(bad: object) -> None:
    with pytest.raises(UsageError):
        Figure.parse({"title": "t", "caption": "c", "traces": [{"y": [bad]}]})


def test_a_tier_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="tier"):
        Verdict.parse({"tier": 6, "sentence": "x"})


def test_unknown_kinds_of_block_are_refused() -> None:
    with pytest.raises(UsageError):
        FeatureCard.parse({"feature": 1, "blocks": [{"kind": "video"}]})


def test_cells_keep_their_types_through_json() -> None:
    columns = tuple(Column(name=name) for name in "abcdef")
    row = ("x", True, 3, 0.5, Estimate(value=1.0, low=0.0, high=2.0), None)
    table = Table(columns=columns, rows=(row,))
    again = Table.parse(table.to_json())
    assert again == table
    assert [type(cell) for cell in again.rows[0]] == [type(cell) for cell in row]
    assert again.digest == table.digest


def test_tokens_may_be_shaded_by_another_measure_than_the_row() -> None:
    example = Example(tokens=(Token(text="a", value=2.0), Token(text="b")), value=5.0)
    block = Examples(examples=(example,), form="chips", maximum=5.0, token_maximum=4.0, token_unit="times")
    html = examples_html(block)
    assert "--level:100" in html
    assert "--level:50" in html
    assert "2.00 times" in html or "2 times" in html
