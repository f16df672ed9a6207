"""Figures of experiments, drawn from the tables of a frozen result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mechscope.experiments.tables import ResultTable
from mechscope.reports import Cell, Column, Figure
from mechscope.reports.figures.style import BLUE, GREY, ORANGE, axis, empty, error_bars, finite, layout, numbers_table

__all__ = ["Curve", "curves_figure"]

COLORS = (BLUE, ORANGE, GREY)
SYMBOLS = ("circle", "square", "diamond")

Curve = tuple[str, ResultTable, str, str, str]
"""Name, table, and its columns of the value, the low end and the high end."""


def curves_figure(curves: Sequence[Curve], *, x: str, title: str, caption: str, value_title: str) -> Figure:
    """Curves with their intervals over the column `x`, on a shared axis of named places."""
    drawn = [curve for curve in curves if curve[1].rows]
    if not drawn:
        return empty(title, "There is nothing to draw: no condition was measured.")
    traces = [_trace(curve, x, at) for at, curve in enumerate(drawn)]
    rows: list[tuple[Cell, ...]] = [
        (name, str(row[x]), _number(row.get(value)), _number(row.get(low)), _number(row.get(high)))
        for name, table, value, low, high in drawn
        for row in table.rows
    ]
    columns = [Column(name="curve"), Column(name=x)]
    columns += [Column(name=name, form="number") for name in (value_title, "low", "high")]
    return Figure(
        title=title,
        caption=caption,
        traces=tuple(traces),
        layout=layout(axis(x, type="category"), axis(value_title), showlegend=len(drawn) > 1),
        numbers=numbers_table(columns, rows),
    )


def _trace(curve: Curve, x: str, at: int) -> dict[str, Any]:
    name, table, value, low, high = curve
    values = [_number(row.get(value)) for row in table.rows]
    ends = [(_number(row.get(low)), _number(row.get(high))) for row in table.rows]
    up = [0.0 if v is None or end[1] is None else end[1] - v for v, end in zip(values, ends, strict=True)]
    down = [0.0 if v is None or end[0] is None else v - end[0] for v, end in zip(values, ends, strict=True)]
    color = COLORS[at % len(COLORS)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [str(row[x]) for row in table.rows],
        "y": finite(values),
        "error_y": error_bars(up, down, color=color),
        "line": {"color": color},
        "marker": {"color": color, "symbol": SYMBOLS[at % len(SYMBOLS)]},
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
