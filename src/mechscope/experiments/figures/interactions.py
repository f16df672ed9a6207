"""Figures of interactions: pairs as a heatmap, modulators as two points each."""

from __future__ import annotations

from typing import Any

from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.figures.curves import curves_figure
from mechscope.experiments.tables import ResultTable
from mechscope.reports import Cell, Column, Figure
from mechscope.reports.figures.style import BLUE, ORANGE, axis, empty, layout, numbers_table

__all__ = ["modulators_figure", "pairs_figure"]

DIVERGING = [[0.0, BLUE], [0.5, "#f4f4f2"], [1.0, ORANGE]]
NUMBERS = ("mean_delta", "low", "high", "p_corrected")


def pairs_figure(table: ResultTable | None, feature: int, evidence: str) -> Figure:
    """A square of the pairs, symmetric, white at 0; pairs below 5 base contexts, and no pairs, are gaps."""
    title = "Interactions of pairs"
    rows = [] if table is None else [row for row in table.rows if _number(row.get("mean_delta")) is not None]
    if table is None or not rows:
        return empty(title, "There is nothing to draw: no pair was measured.")
    names = list(dict.fromkeys(str(row[key]) for row in rows for key in ("first", "second")))
    shown: dict[tuple[str, str], float | None] = {}
    for row in rows:
        value = _number(row["mean_delta"]) if (_number(row["n"]) or 0) >= FEW else None
        shown[str(row["first"]), str(row["second"])] = shown[str(row["second"]), str(row["first"])] = value
    largest = max((abs(value) for value in shown.values() if value is not None), default=1.0) or 1.0
    trace: dict[str, Any] = {
        "type": "heatmap", "x": names, "y": names, "z": [[shown.get((x, y)) for x in names] for y in names],
        "colorscale": DIVERGING, "zmin": -largest, "zmax": largest,
        "colorbar": {"title": {"text": "interaction"}},
    }  # fmt: skip
    columns = [Column(name="first"), Column(name="second"), *(Column(name=name, form="number") for name in NUMBERS)]
    cells: list[tuple[Cell, ...]] = [
        (str(row["first"]), str(row["second"]), *(_number(row.get(name)) for name in NUMBERS)) for row in rows
    ]
    return Figure(
        title=title,
        caption=f"Feature {feature} ({evidence}): {table.caption}",
        traces=(trace,),
        layout=layout(axis("", type="category"), axis("", type="category", autorange="reversed")),
        numbers=numbers_table(columns, cells),
    )


def modulators_figure(table: ResultTable | None, feature: int, evidence: str, pair: str) -> Figure:
    """The pair's interaction without and with every modulator, with intervals."""
    title = f"{pair}: interaction without and with a third"
    if table is None or not table.rows:
        return empty(title, "There is nothing to draw: no modulator was measured.")
    curves = [(f"{name} the modulator", table, name, f"{name}_low", f"{name}_high") for name in ("without", "with")]
    return curves_figure(
        curves,
        x="modulator",
        title=title,
        caption=f"Feature {feature} ({evidence}): {table.caption}",
        value_title="interaction",
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
