"""Figures of one feature's activations: the histogram with its regions, and the regions themselves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mechscope.core import Spec, UsageError
from mechscope.reports.blocks import Figure
from mechscope.reports.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    Values,
    axis,
    bar_height_px,
    empty,
    finite,
    layout,
    numbers_table,
    row_axis,
    vertical_line,
)
from mechscope.reports.markup import plot_text
from mechscope.reports.numbers import write_number
from mechscope.reports.table_block import Column

__all__ = ["RegionBar", "activation_histogram", "region_bars"]


NAMED_WIDTH = 0.12  # of the axis: narrower regions are named in the region figure alone


class RegionBar(Spec):
    """One activation region and what lies in it; `low` (exclusive) and `high` (inclusive) in units of the activation.

    `share` is of all samples, zeros included. `high` None: open above.
    """

    name: str
    low: float
    high: float | None
    n: int
    share: float
    mean: float | None = None


def activation_histogram(
    edges: Values,
    counts: Values,
    *,
    n_zero: int,
    regions: Sequence[RegionBar] = (),
    effective_maximum: float | None = None,
    title: str = "Activation histogram",
) -> Figure:
    """Histogram of the non-zero activations on a log count axis, with the borders of the regions.

    Args:
        edges: [n_bins + 1] rising bin edges, in units of the activation.
        counts: [n_bins] samples in each bin, zeros left away.
        n_zero: samples on which the feature is zero, stated in the caption.
        regions: their borders are drawn and named.
        effective_maximum: 99.5th percentile of the non-zero activations.
        title: the figure's title.

    Raises:
        UsageError: the number of edges does not fit the number of counts.
    """
    borders, heights = np.asarray(finite(edges), dtype=float), np.asarray(finite(counts), dtype=float)
    if heights.size and borders.size != heights.size + 1:
        raise UsageError(
            f"{borders.size} bin edges for {heights.size} counts",
            expected=f"{heights.size + 1} edges",
            todo="pass the edges and the counts of one histogram",
        )
    n_active = int(heights.sum()) if heights.size else 0
    if not n_active:
        return empty(title, f"The feature is zero on all {n_zero:,} samples.")
    trace = {"type": "bar", "marker": {"color": BLUE}, "y": heights.tolist()}
    trace |= {"x": ((borders[1:] + borders[:-1]) / 2).tolist(), "width": (np.diff(borders) * 0.94).tolist()}
    trace["customdata"] = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(borders)]
    trace["hovertemplate"] = "%{customdata}<br>%{y:,} samples<extra></extra>"
    share = n_active / (n_active + n_zero)
    caption = (
        f"n = {n_active + n_zero:,} samples; active on {n_active:,} ({write_number(share, 'percent', digits=2)}), "
        f"zero on {n_zero:,} (not drawn)."
    )
    if effective_maximum is not None:
        caption += f" Effective maximum (99.5th percentile of the non-zeros): {write_number(effective_maximum)}."
    top = float(np.log10(heights.max()))
    y = axis("samples", "log scale", type="log", range=[-0.3, max(top * 1.1, top + 0.2)], dtick=1, zeroline=False)
    ends = [float(borders[0]), float(borders[-1])]
    drawing = layout(axis("activation", zeroline=False, range=ends), y, bargap=0, **_region_marks(regions, ends))
    if regions:
        caption += f" Dotted lines: where the {len(regions)} regions meet."
        drawing["margin"] |= {"t": 26}
    return Figure(title=title, caption=caption, traces=(trace,), layout=drawing, height_px=300)


def _region_marks(regions: Sequence[RegionBar], ends: list[float]) -> dict[str, Any]:
    """Borders as dotted lines, every other region shaded, and the names of those wide enough to carry one."""
    low_end, high_end = ends
    shapes = [vertical_line(region.low, dash="dot") for region in regions if low_end < region.low < high_end]
    names = []
    for index, region in enumerate(regions):
        low, high = max(region.low, low_end), min(high_end if region.high is None else region.high, high_end)
        if high <= low:
            continue
        if index % 2:
            band = {"type": "rect", "xref": "x", "yref": "paper", "x0": low, "x1": high, "y0": 0, "y1": 1}
            shapes.append({**band, "fillcolor": GREY, "opacity": 0.09, "line": {"width": 0}, "layer": "below"})
        if high - low >= NAMED_WIDTH * (high_end - low_end):
            place = {"xref": "x", "yref": "paper", "x": (low + high) / 2, "y": 1.0, "yanchor": "bottom"}
            name = plot_text(region.name, longest=16)
            names.append({**place, "text": name, "showarrow": False, "font": {"size": 10.5}})
    return {"shapes": shapes, "annotations": names}


def region_bars(regions: Sequence[RegionBar], *, n_samples: int, title: str = "Activation regions") -> Figure:
    """For each region, side by side: its share of all samples and the mean activation inside it."""
    if not any(region.n for region in regions):
        return empty(title, f"None of {n_samples:,} samples lies in a region.")
    rows = list(range(len(regions)))
    shares = _bars(rows, [region.share for region in regions], color=BLUE)
    shares |= {
        "customdata": [f"{region.n:,}" for region in regions],
        "text": [write_number(r.share, "percent", digits=2) for r in regions],
    }
    shares["hovertemplate"] = "%{customdata} samples, %{text}<extra></extra>"
    means = _bars(rows, finite([region.mean for region in regions]), color=ORANGE)
    means |= {"xaxis": "x2", "text": ["" if r.mean is None else write_number(r.mean) for r in regions]}
    means["hovertemplate"] = "mean activation %{x:.4~g}<extra></extra>"
    x = axis("share of samples", domain=[0, 0.46], tickformat="~%", nticks=4, rangemode="tozero")
    x["range"] = [0, 1.35 * (max(region.share for region in regions) or 1.0)]
    x2 = axis("mean activation", domain=[0.54, 1], nticks=4, anchor="y")
    highest = max((region.mean for region in regions if region.mean is not None), default=1.0)
    x2["range"] = [0, 1.35 * (highest or 1.0)]
    drawing = layout(x, row_axis([plot_text(region.name, longest=22) for region in regions]), xaxis2=x2)
    columns = [Column(name="region"), Column(name="above", form="number"), Column(name="up to", form="number")]
    columns += [
        Column(name="samples", form="integer"),
        Column(name="share", form="percent", digits=3),
        Column(name="mean", form="number"),
    ]
    numbers = numbers_table(columns, [(r.name, r.low, r.high, r.n, r.share, r.mean) for r in regions])
    caption = f"n = {n_samples:,} samples, zeros included. A region without samples has no mean."
    height = bar_height_px(len(regions), each_px=30)
    return Figure(
        title=title, caption=caption, traces=(shares, means), layout=drawing, height_px=height, numbers=numbers
    )


def _bars(rows: list[int], values: Sequence[float | None], *, color: str) -> dict[str, Any]:
    label = {"textposition": "outside", "cliponaxis": False, "textfont": {"size": 11, "color": GREY}}
    return {"type": "bar", "orientation": "h", "y": rows, "x": list(values), "marker": {"color": color}, **label}
