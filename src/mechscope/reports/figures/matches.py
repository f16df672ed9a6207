"""The figure of planted concepts against what the dictionary found, beside the baselines that a match must beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mechscope.core import Spec
from mechscope.reports.blocks import Figure
from mechscope.reports.figures.style import (
    GREY,
    ORANGE,
    PURPLE,
    TEAL,
    VERMILION,
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
from mechscope.reports.numbers import write_interval, write_number
from mechscope.reports.table_block import Cell, Column, Estimate, Table

__all__ = ["PlantedMatch", "planted_match"]

# field -> (name, symbol, colour)
BASELINES = {
    "best_token": ("best single token", "diamond-open", ORANGE),
    "pca": ("best PCA direction", "square-open", PURPLE),
    "random_dictionary": ("random dictionary", "triangle-up-open", GREY),
}


class PlantedMatch(Spec):
    """One planted concept: the feature that matches it best, and the AUROC of the baselines on the same rows.

    `found` is the caller's verdict: it counts when the feature passes the threshold and beats every baseline.
    """

    concept: str
    feature: int | None
    auroc: Estimate | None
    best_token: float | None = None
    pca: float | None = None
    random_dictionary: float | None = None
    token: str = ""
    n_positive: int | None = None
    found: bool = False


def planted_match(
    matches: Sequence[PlantedMatch],
    *,
    n_rows: int,
    threshold: float = 0.9,
    title: str = "Planted concepts and the features that match them",
) -> Figure:
    """For each concept the AUROC of its best feature with its interval, the baselines' marks, and the threshold.

    Args:
        matches: one for each planted concept, in the order to draw.
        n_rows: held-out rows on which every AUROC was measured.
        threshold: the line a match must pass.
        title: the figure's title.
    """
    if not matches:
        return empty(title, "No concept was planted in this corpus.")
    traces = [_baseline(matches, field) for field in BASELINES]
    traces += [_features(matches, found=True), _features(matches, found=False)]
    n_found = sum(match.found for match in matches)
    missing = [match.concept for match in matches if not match.found]
    caption = (
        f"AUROC on {n_rows:,} held-out rows, bars: 95 % intervals. {n_found} of {len(matches)} concepts "
        f"({write_number(n_found / len(matches), 'percent', digits=0)}) have a feature above {threshold:g} "
        "that beats every baseline." + (f" Missing: {', '.join(missing)}." if missing else "")
    )
    labels = [plot_text(match.concept, longest=34) for match in matches]
    x = axis("AUROC on held-out rows", range=[min(0.45, _lowest(matches) - 0.03), 1.015], zeroline=False)
    line = vertical_line(threshold, text=f"{threshold:g}")
    drawing = layout(x, row_axis(labels, showgrid=True), shapes=[line], showlegend=True)
    drawing["legend"] |= {"yanchor": "top"}
    drawing["margin"] |= {"t": 26, "b": 90}
    height = bar_height_px(len(matches), each_px=26, around_px=130)
    drawing["legend"]["y"] = -52 / (height - 116)
    traced = tuple(trace for trace in traces if trace["x"])
    return Figure(
        title=title, caption=caption, traces=traced, layout=drawing, height_px=height, numbers=_numbers(matches)
    )


def _baseline(matches: Sequence[PlantedMatch], field: str) -> dict[str, Any]:
    name, symbol, color = BASELINES[field]
    points = [(row, getattr(match, field)) for row, match in enumerate(matches) if getattr(match, field) is not None]
    marker = {"symbol": symbol, "size": 8, "color": color, "line": {"width": 1.6}}
    trace = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "y": [row for row, _ in points],
        "x": [x for _, x in points],
    }
    return {**trace, "marker": marker, "hovertemplate": f"{name}: %{{x:.3f}}<extra></extra>"}


def _features(matches: Sequence[PlantedMatch], *, found: bool) -> dict[str, Any]:
    color, symbol = (TEAL, "circle") if found else (VERMILION, "x")
    name = "dictionary feature, counts" if found else "dictionary feature, does not count"
    points = [(row, match, match.auroc) for row, match in enumerate(matches) if match.auroc and match.found is found]
    up = [(a.high if a.high is not None else a.value) - a.value for _, _, a in points]
    down = [a.value - (a.low if a.low is not None else a.value) for _, _, a in points]
    hover = [f"feature #{m.feature}<br>AUROC {a.value:.3f}" + _interval(a) for _, m, a in points]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "y": [row for row, _, _ in points],
        "x": [a.value for _, _, a in points],
    }
    marker = {"symbol": symbol, "size": 10, "color": color}
    return {
        **trace,
        "error_x": error_bars(up, down, color=color),
        "marker": marker,
        "customdata": hover,
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _interval(auroc: Estimate) -> str:
    return "" if auroc.low is None or auroc.high is None else f" {write_interval(auroc.low, auroc.high, digits=3)}"


def _lowest(matches: Sequence[PlantedMatch]) -> float:
    values = [x for m in matches for x in (m.best_token, m.pca, m.random_dictionary) if x is not None]
    values += [m.auroc.value if m.auroc.low is None else m.auroc.low for m in matches if m.auroc]
    return min(values, default=0.5)


def _numbers(matches: Sequence[PlantedMatch]) -> Table:
    columns = (
        Column(name="concept"),
        Column(name="feature", form="feature"),
        Column(name="AUROC [95 %]", form="number", digits=3),
        Column(name="best token", form="token"),
        Column(name="its AUROC", form="number", digits=3),
        Column(name="PCA", form="number", digits=3),
        Column(name="random dictionary", form="number", digits=3),
        Column(name="positive rows", form="integer"),
        Column(name="counts"),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            m.concept,
            m.feature,
            m.auroc,
            m.token or None,
            m.best_token,
            m.pca,
            m.random_dictionary,
            m.n_positive,
            m.found,
        )
        for m in matches
    ]
    return numbers_table(columns, rows)
