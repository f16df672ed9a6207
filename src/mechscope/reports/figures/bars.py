"""Named bars: families, weapons, kits, contexts, or whatever else has a name, a number and a sample size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mechscope.core import Spec
from mechscope.reports.blocks import Figure
from mechscope.reports.figures.style import (
    BLUE,
    ORANGE,
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
from mechscope.reports.table_block import Cell, Column, Estimate

__all__ = ["NamedValue", "named_bars"]


class NamedValue(Spec):
    """A name with its estimate; the estimate's `n` is shown on hover and in the table."""

    name: str
    estimate: Estimate


def named_bars(
    values: Sequence[NamedValue],
    *,
    title: str,
    caption: str,
    value_title: str,
    unit: str = "",
    reference: float | None = None,
) -> Figure:
    """Horizontal bars, each with its interval, against a reference line.

    Args:
        values: in the order to draw.
        title: the figure's title.
        caption: what is shown, with the sample size.
        value_title: the axis title.
        unit: the axis' unit.
        reference: where "no difference" lies, or the mean over everything; None draws no line.
    """
    if not values:
        return empty(title, "There is nothing to compare here.")
    estimates = [value.estimate for value in values]
    trace: dict[str, Any] = {"type": "bar", "orientation": "h", "y": list(range(len(values)))}
    trace["x"] = [estimate.value for estimate in estimates]
    trace["marker"] = {"color": [BLUE if estimate.value >= 0 else ORANGE for estimate in estimates]}
    trace["customdata"] = [_hover(value) for value in values]
    trace["hovertemplate"] = "%{customdata}<extra></extra>"
    if any(estimate.low is not None for estimate in estimates):
        up = [0.0 if e.high is None else e.high - e.value for e in estimates]
        down = [0.0 if e.low is None else e.value - e.low for e in estimates]
        trace["error_x"] = error_bars(up, down)
    drawing = layout(axis(value_title, unit), row_axis([plot_text(value.name, longest=28) for value in values]))
    if reference is not None:
        drawing["shapes"] = [vertical_line(reference)]
    columns = [
        Column(name="name"),
        Column(name=value_title, form="number", unit=unit),
        Column(name="n", form="integer"),
    ]
    rows: list[tuple[Cell, ...]] = [(value.name, value.estimate, value.estimate.n) for value in values]
    return Figure(
        title=title,
        caption=caption,
        traces=(trace,),
        layout=drawing,
        height_px=bar_height_px(len(values)),
        numbers=numbers_table(columns, rows),
    )


def _hover(value: NamedValue) -> str:
    estimate = value.estimate
    ends = "" if estimate.low is None or estimate.high is None else f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    n = "" if estimate.n is None else f"<br>n = {estimate.n:,}"
    return f"{plot_text(value.name)}: {estimate.value:.4g}{ends}{n}"
