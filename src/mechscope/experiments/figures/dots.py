"""Dots with their intervals in named rows: binaries, tokens, or whatever else of an experiment has a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mechscope.reports import Cell, Column, Estimate, Figure
from mechscope.reports.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    TEAL,
    axis,
    bar_height_px,
    empty,
    error_bars,
    layout,
    numbers_table,
    row_axis,
    vertical_line,
)
from mechscope.reports.markup import plot_text

__all__ = ["DotSeries", "dots_figure"]

COLORS, SYMBOLS = (BLUE, ORANGE, TEAL, GREY), ("circle", "square", "diamond", "cross")
APART = 0.22  # of a row, between the dots of two series


@dataclass(frozen=True)
class DotSeries:
    """One value a row, with its ends: the columns of `rows` that hold them."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    value: str
    low: str
    high: str
    n: str = "n"


def dots_figure(
    series: Sequence[DotSeries],
    *,
    row_name: str,
    order: Sequence[str],
    title: str,
    caption: str,
    value_title: str,
    reference: float | None = 0.0,
) -> Figure:
    """Series of dots over the same named rows.

    Args:
        series: each with rows named by the column `row_name`; rows without a value are not drawn.
        row_name: the column with the names. order: the names drawn, first on top.
        title, caption, value_title: words.
        reference: where "no difference" lies; None draws no line.
    """
    place = {name: at for at, name in enumerate(order)}
    drawn = [
        (at, one, [row for row in one.rows if row[row_name] in place and row.get(one.value) is not None])
        for at, one in enumerate(series)
    ]
    drawn = [part for part in drawn if part[2]]
    if not drawn:
        return empty(title, "There is nothing to draw: nothing was measured.")
    middle = (len(series) - 1) / 2
    traces, table = [], []
    for at, one, rows in drawn:
        estimates = [_estimate(row, one) for row in rows]
        up = [0.0 if e.high is None else max(0.0, e.high - e.value) for e in estimates]
        down = [0.0 if e.low is None else max(0.0, e.value - e.low) for e in estimates]
        color = COLORS[at % len(COLORS)]
        traces.append({
            "type": "scatter", "mode": "markers", "name": one.name,
            "x": [e.value for e in estimates],
            "y": [place[row[row_name]] + APART * (at - middle) for row in rows],
            "error_x": error_bars(up, down, color=color),
            "marker": {"color": color, "symbol": SYMBOLS[at % len(SYMBOLS)], "size": 8},
            "customdata": [_hover(str(row[row_name]), e) for row, e in zip(rows, estimates, strict=True)],
            "hovertemplate": "%{customdata}<extra></extra>",
        })  # fmt: skip
        cells: list[tuple[Cell, ...]] = [
            (str(row[row_name]), one.name, estimate, estimate.n) for row, estimate in zip(rows, estimates, strict=True)
        ]
        table += cells
    columns = [Column(name=row_name), Column(name="measured"), Column(name=value_title, form="number"),
               Column(name="n", form="integer")]  # fmt: skip
    labels = [plot_text(name, longest=32) for name in order]
    drawing = layout(axis(value_title), row_axis(labels), showlegend=len(traces) > 1)
    if reference is not None:
        drawing["shapes"] = [vertical_line(reference)]
    return Figure(
        title=title,
        caption=caption,
        traces=tuple(traces),
        layout=drawing,
        height_px=bar_height_px(len(order), around_px=110),
        numbers=numbers_table(columns, table),
    )


def _estimate(row: Mapping[str, Any], series: DotSeries) -> Estimate:
    n = row.get(series.n)
    return Estimate(value=row[series.value], low=row.get(series.low), high=row.get(series.high), n=n)


def _hover(name: str, estimate: Estimate) -> str:
    ends = "" if estimate.low is None or estimate.high is None else f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    n = "" if estimate.n is None else f"<br>n = {estimate.n:,}"
    return f"{plot_text(name)}: {estimate.value:.4g}{ends}{n}"
