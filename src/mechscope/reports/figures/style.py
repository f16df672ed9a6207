"""One look for every figure. Colours of text and lines are left to the page, which knows light from dark.

The colours keep apart under the common colour-vision deficiencies (blue against orange, light against dark) and
stand out on white and on near-black; where two things share a plot they differ in symbol too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechscope.reports.blocks import Figure
from mechscope.reports.table_block import Cell, Column, Table

__all__ = [
    "BLUE",
    "GREY",
    "ORANGE",
    "PURPLE",
    "TEAL",
    "VERMILION",
    "Values",
    "axis",
    "bar_height_px",
    "empty",
    "error_bars",
    "finite",
    "layout",
    "left_out",
    "numbers_table",
    "row_axis",
    "vertical_line",
]

BLUE, ORANGE, TEAL, VERMILION, PURPLE, GREY = "#2b7bba", "#e08a1e", "#1f9e89", "#d1495b", "#8e6bbf", "#8a93a0"

Values = Sequence[float] | Sequence[float | None] | NDArray[np.floating[Any]] | NDArray[np.integer[Any]]


def finite(values: Values) -> list[float | None]:
    """Plain floats; whatever is not finite becomes None, a gap in the figure."""
    return [None if value is None or not math.isfinite(value) else float(value) for value in values]


def left_out(values: Iterable[float | None], what: str = "points") -> str:
    """A sentence that says how many values could not be drawn; empty when all could."""
    n = sum(value is None for value in values)
    return f" {n:,} {what} without a finite value are not drawn." if n else ""


def axis(title: str, unit: str = "", **more: Any) -> dict[str, Any]:
    """An axis with its title and unit."""
    text = f"{title} ({unit})" if unit else title
    return {
        "title": {"text": text, "standoff": 10, "font": {"size": 12}},
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
        **more,
    }


def row_axis(labels: Sequence[str], **more: Any) -> dict[str, Any]:
    """A vertical axis of named rows, first on top. The labels are Plotly text (`plot_text`), at 0, 1, 2 ..."""
    return {
        "tickmode": "array",
        "tickvals": list(range(len(labels))),
        "ticktext": list(labels),
        "range": [len(labels) - 0.4, -0.6],
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
        **more,
    }


def layout(x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The layout that all figures share."""
    return {
        "xaxis": x,
        "yaxis": y,
        "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12},
        "bargap": 0.25,
        "hovermode": "closest",
        "showlegend": False,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.0,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
        },
        **more,
    }


def vertical_line(x: float, *, text: str = "", color: str = GREY, dash: str = "dash") -> dict[str, Any]:
    """A line across the whole height at `x`, named at its top."""
    label = {
        "text": text,
        "textposition": "end",
        "textangle": 0,
        "font": {"size": 11, "color": color},
        "yanchor": "bottom",
    }
    line = {"color": color, "width": 1.5, "dash": dash}
    shape = {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}
    return {**shape, "label": label} if text else shape


def error_bars(up: list[float], down: list[float], *, color: str = GREY) -> dict[str, Any]:
    """Horizontal error bars by their lengths to the right and to the left."""
    lengths = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
    return {**lengths, "thickness": 1.4, "width": 3, "color": color}


def bar_height_px(n_rows: int, *, each_px: int = 24, around_px: int = 78) -> int:
    """A height at which `n_rows` named rows can be read."""
    return max(150, min(4000, around_px + each_px * n_rows))


def numbers_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Table:
    """What a figure draws, as a table."""
    return Table(columns=tuple(columns), rows=tuple(tuple(row) for row in rows))


def empty(title: str, note: str) -> Figure:
    """A figure with nothing to draw: the reader gets a sentence instead of an empty frame."""
    return Figure(title=title, caption="", empty_note=note)
