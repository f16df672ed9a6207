"""Figures of a dictionary's training and of its whole: curves, density, downstream loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mechscope.core import Spec
from mechscope.reports.blocks import Figure, Grid
from mechscope.reports.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    TEAL,
    VERMILION,
    Values,
    axis,
    bar_height_px,
    empty,
    finite,
    layout,
    left_out,
    numbers_table,
    row_axis,
)
from mechscope.reports.numbers import write_number
from mechscope.reports.table_block import Column

__all__ = ["SplicedLoss", "feature_density", "loss_recovered", "training_curves"]

# history column -> (title, axis title, unit, colour, percent)
CURVES = {
    "loss": ("Training loss", "loss", "", BLUE, False),
    "fvu": ("Fraction of variance unexplained", "FVU", "", ORANGE, False),
    "l0": ("Active features per sample", "L0", "features", TEAL, False),
    "dead_share": ("Dead features", "dead share", "", PURPLE, True),
}


class SplicedLoss(Spec):
    """The model's loss as it is and with the site's activations replaced.

    `recovered`, computed by the caller, is the share of the damage of `baseline_name` ablation that is undone.
    """

    clean: float
    spliced: float
    zero: float | None = None
    mean: float | None = None
    recovered: float | None = None
    baseline_name: str = "zero"
    unit: str = "nats per token"
    n: int
    n_unit: str = "tokens"


def training_curves(history: Mapping[str, Values], *, step: str = "step", step_unit: str = "steps") -> Grid:
    """One small figure for each of `loss fvu l0 dead_share` that `history` holds; other columns are for other figures.

    Args:
        history: columns of equal length; `history[step]` is the horizontal axis (row number when absent).
        step: its column.
        step_unit: what a step is.
    """
    cells = []
    for name, (title, label, unit, color, is_share) in CURVES.items():
        values = finite(history.get(name, []))
        steps = finite(history[step]) if step in history else [float(i) for i in range(len(values))]
        drawn = [value for value in values if value is not None]
        if not drawn:
            cells.append((empty(title, f"The history holds no {label}."),))
            continue
        mode = "lines+markers" if len(drawn) < 30 else "lines"
        trace = {"type": "scatter", "mode": mode, "x": steps, "y": values, "line": {"color": color, "width": 2}}
        trace |= {"marker": {"size": 4}, "hovertemplate": f"%{{x:,}} {step_unit}<br>{label} %{{y:.4~g}}<extra></extra>"}
        low_edge = {"tickformat": ".0%", "rangemode": "tozero"} if is_share else {"rangemode": "tozero"}
        last = write_number(drawn[-1], "percent" if is_share else "number")
        caption = f"{len(drawn):,} points; last value {last}.{left_out(values)}"
        drawing = layout(axis(step_unit, zeroline=False), axis(label, unit, **low_edge))
        cells.append((Figure(title=title, caption=caption, traces=(trace,), layout=drawing, height_px=240),))
    return Grid(cells=tuple(cells), cell_min_px=330)


def feature_density(densities: Values, *, n_samples: int, n_bins: int = 40, sample_unit: str = "samples") -> Figure:
    """Histogram of log10 of the share of samples on which each feature is active; never-active ones are counted apart.

    Args:
        densities: [n_features] in 0..1.
        n_samples: how many samples the shares were counted on.
        n_bins: bars between the rarest and the commonest feature.
        sample_unit: what a sample is, in the plural.
    """
    title = "How often features are active"
    shares = np.asarray([value for value in finite(densities) if value is not None])
    alive = np.log10(shares[shares > 0])
    if not alive.size:
        return empty(title, f"None of {shares.size:,} features is active on any of {n_samples:,} {sample_unit}.")
    low, high = float(alive.min()), max(float(alive.max()), float(alive.min()) + 0.1)
    counts, edges = np.histogram(alive, bins=n_bins, range=(low, high))
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    trace = {"type": "bar", "x": centres.tolist(), "y": counts.tolist(), "width": (widths * 0.94).tolist()}
    trace |= {"marker": {"color": BLUE}, "customdata": (100 * 10.0**centres).tolist()}
    trace["hovertemplate"] = (
        f"active on about %{{customdata:.3~g}} % of {sample_unit}<br>%{{y}} features<extra></extra>"
    )
    ticks = [tick for tick in range(-9, 1) if low - 0.5 <= tick <= high + 0.5]
    words = [f"{10.0**tick:.0%}" if tick >= -2 else f"{100 * 10.0**tick:g}%" for tick in ticks]
    x = axis(f"share of {sample_unit} on which the feature is active", "log scale", tickvals=ticks, ticktext=words)
    dead = shares.size - alive.size
    caption = (
        f"n = {shares.size:,} features over {n_samples:,} {sample_unit}; "
        f"{dead:,} never active, not drawn."
        f"{left_out(finite(densities), 'features')}"
    )
    return Figure(title=title, caption=caption, traces=(trace,), layout=layout(x, axis("features")), height_px=300)


def loss_recovered(losses: SplicedLoss, *, title: str = "Loss when the reconstruction is spliced in") -> Figure:
    """Bars of the model's loss: clean, spliced, and with the site set to its mean and to zero."""
    bars = [("clean", losses.clean, GREY), ("spliced", losses.spliced, BLUE)]
    bars += [("mean-ablated", losses.mean, ORANGE)] if losses.mean is not None else []
    bars += [("zero-ablated", losses.zero, VERMILION)] if losses.zero is not None else []
    names, values, colors = [bar[0] for bar in bars], [bar[1] for bar in bars], [bar[2] for bar in bars]
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "x": values,
        "y": list(range(len(bars))),
        "marker": {"color": colors},
    }
    trace |= {"text": [write_number(bar[1]) for bar in bars], "textposition": "outside", "customdata": names}
    trace |= {"hovertemplate": f"%{{customdata}}: %{{x:.4~g}} {losses.unit}<extra></extra>"}
    share = ""
    if losses.recovered is not None:
        recovered = write_number(losses.recovered, "percent")
        share = f"; the reconstruction recovers {recovered} of what {losses.baseline_name} ablation loses"
    caption = f"n = {losses.n:,} {losses.n_unit}{share}. Lower is better; spliced should be close to clean."
    trace["cliponaxis"], trace["textfont"] = False, {"color": GREY}
    drawing = layout(axis("loss", losses.unit, range=[0, 1.15 * (max(values) or 1.0)]), row_axis(names))
    columns = (Column(name="condition"), Column(name="loss", form="number", unit=losses.unit, digits=4))
    numbers = numbers_table(columns, [(bar[0], bar[1]) for bar in bars])
    height = bar_height_px(len(bars), each_px=34)
    return Figure(title=title, caption=caption, traces=(trace,), layout=drawing, height_px=height, numbers=numbers)
