"""Figures over tokens: what a feature's decoder promotes and suppresses, and which tokens its inputs are rich in."""

from __future__ import annotations

import math
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
)
from mechscope.reports.markup import plot_text
from mechscope.reports.numbers import write_number
from mechscope.reports.table_block import Cell, Column, Table

__all__ = ["TokenRatio", "TokenScore", "decoder_outputs", "token_enrichment"]


class TokenScore(Spec):
    """A token and its number; `percentile` in 0..100 is its place among all of the feature's outputs."""

    token: str
    value: float
    percentile: float | None = None


class TokenRatio(Spec):
    """How much commoner a token is among active samples than among all: `ratio` 1 is no difference.

    `n_active` of the active samples hold it; `low` and `high` are the ends of its interval.
    """

    token: str
    ratio: float
    n_active: int
    low: float | None = None
    high: float | None = None


def decoder_outputs(
    promoted: Sequence[TokenScore],
    suppressed: Sequence[TokenScore],
    *,
    unit: str = "logit per unit of activation",
    n_outputs: int | None = None,
    title: str = "What the decoder promotes and suppresses",
) -> Figure:
    """Bars of the outputs that the feature's decoder direction raises most and lowers most, through the direct path.

    Args:
        promoted: largest first.
        suppressed: most negative first.
        unit: of the scores.
        n_outputs: outputs that were ranked, for the caption.
        title: the figure's title.
    """
    scores = [*promoted, *reversed(suppressed)]
    if not scores:
        return empty(title, "No output was ranked for this feature.")
    values = [score.value for score in scores]
    trace = _bars(scores, values, [BLUE if value >= 0 else ORANGE for value in values])
    trace["hovertemplate"] = "%{customdata}: %{x:+.4~g}<extra></extra>"
    of_all = f" of {n_outputs:,} outputs" if n_outputs is not None else " outputs"
    caption = (
        f"The {len(promoted)} most promoted (blue) and {len(suppressed)} most suppressed (orange){of_all}, by the "
        "direct path from the decoder direction to the outputs. This is read off the weights: no input was run."
    )
    drawing = layout(axis("direct effect", unit), _token_axis(scores))
    columns = (
        Column(name="output", form="token"),
        Column(name="direct effect", form="number", digits=4),
        Column(name="percentile", form="number", digits=1),
    )
    numbers = numbers_table(columns, [(score.token, score.value, score.percentile) for score in scores])
    return _figure(title, caption, trace, drawing, numbers)


def token_enrichment(
    tokens: Sequence[TokenRatio],
    *,
    n_active: int,
    n_samples: int,
    title: str = "Tokens that active samples are rich in",
) -> Figure:
    """Bars of each token's enrichment on a log2 axis; 1 means as common as everywhere, and a ratio of 0 is not drawn.

    Args:
        tokens: in the order to draw.
        n_active: samples on which the feature is active (or in the tail that was looked at).
        n_samples: all samples.
        title: the figure's title.
    """
    drawn = [token for token in tokens if token.ratio > 0]
    if not drawn:
        return empty(title, "No token is commoner on active samples than elsewhere.")
    logs = [math.log2(token.ratio) for token in drawn]
    trace = _bars(drawn, logs, [BLUE if value >= 0 else ORANGE for value in logs])
    trace["customdata"] = [
        f"{plot_text(token.token)}: ×{write_number(token.ratio)}, on {token.n_active:,} active samples"
        for token in drawn
    ]
    trace["hovertemplate"] = "%{customdata}<extra></extra>"
    if any(token.low for token in drawn):
        trace["error_x"] = _error_bars(drawn, logs)
    low, high = math.floor(min(*logs, 0)), math.ceil(max(*logs, 1))
    step = max(1, (high - low) // 6)
    ticks = list(range(low, high + 1, step))
    x = axis("enrichment", "times, log scale", tickvals=ticks, ticktext=[f"×{2.0**tick:g}" for tick in ticks])
    n_zero = len(tokens) - len(drawn)
    zero = f" {n_zero} tokens never occur on active samples and are not drawn." if n_zero else ""
    caption = (
        f"Share of the {n_active:,} active samples that hold the token, over its share of all "
        f"{n_samples:,} samples.{zero}"
    )
    columns = [
        Column(name="token", form="token"),
        Column(name="enrichment", form="number"),
        Column(name="low", form="number"),
    ]
    columns += [Column(name="high", form="number"), Column(name="active samples with it", form="integer")]
    rows: list[tuple[Cell, ...]] = [(t.token, t.ratio, t.low, t.high, t.n_active) for t in tokens]
    return _figure(title, caption, trace, layout(x, _token_axis(drawn)), numbers_table(columns, rows))


def _bars(
    tokens: Sequence[TokenScore] | Sequence[TokenRatio], values: list[float], colors: list[str]
) -> dict[str, Any]:
    trace = {"type": "bar", "orientation": "h", "x": values, "y": list(range(len(values))), "marker": {"color": colors}}
    return {**trace, "customdata": [plot_text(token.token) for token in tokens]}


def _error_bars(tokens: Sequence[TokenRatio], logs: list[float]) -> dict[str, Any]:
    up = [math.log2(token.high) - log if token.high else 0.0 for token, log in zip(tokens, logs, strict=True)]
    down = [log - math.log2(token.low) if token.low else 0.0 for token, log in zip(tokens, logs, strict=True)]
    return error_bars(up, down)


def _token_axis(tokens: Sequence[TokenScore] | Sequence[TokenRatio]) -> dict[str, Any]:
    return row_axis(
        [plot_text(token.token, longest=26) for token in tokens],
        tickfont={"family": "ui-monospace, Menlo, Consolas, monospace", "size": 11.5},
    )


def _figure(title: str, caption: str, trace: dict[str, Any], drawing: dict[str, Any], numbers: Table) -> Figure:
    height = bar_height_px(len(trace["y"]), each_px=21)
    return Figure(title=title, caption=caption, traces=(trace,), layout=drawing, height_px=height, numbers=numbers)
