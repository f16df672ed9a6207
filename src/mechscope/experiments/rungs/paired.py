"""Contrasts of paired contexts as rows of a table, with a verdict that one half chose and the other confirmed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import paired_cells
from mechscope.experiments.changing.selecting import ALPHA, confirm

__all__ = ["FALLS", "FLOOR_COLUMNS", "NO_VERDICT", "RISES", "VERDICT_COLUMNS", "paired_rows"]

VERDICT_COLUMNS = ("held_out_delta", "held_out_low", "held_out_high", "held_out_n", "held_out_p", "verdict")
FLOOR_COLUMNS = ("before_floor", "before_floor_low", "before_floor_high", "before_floor_p")
RISES, FALLS, NO_VERDICT = "rises", "falls", ""


def paired_rows(
    table: np.ndarray, bases: Bases, *, least: float, seed: int, below: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """A row for each contrast of `table` [n, contrasts].

    Args:
        table: contrasts in each base context, NaN where not measured.
        least: least mean that can be chosen, in activation units.
        seed: of resamples and sign flips.
        below: the same contrasts of what the feature is before its floor, over all contexts: `before_floor` with its
            interval and p, corrected over the contrasts that have a verdict. (Contexts where every activation is above
            zero would not do: noise has a part in choosing them.)
    """
    if not table.shape[1]:
        return []
    first = ~bases.is_held_out
    cells = paired_cells(table, bases.clusters, seed=seed)
    choosing = paired_cells(table[first], bases.clusters[first], seed=seed)
    telling = paired_cells(table[~first], bases.clusters[~first], seed=seed)
    rows: list[dict[str, Any]] = []
    for at in range(table.shape[1]):
        row = {**cells.row(at), **dict.fromkeys(VERDICT_COLUMNS), "verdict": NO_VERDICT}
        if choosing.p_corrected[at] < ALPHA and abs(choosing.mean[at]) >= least:
            sign = float(np.sign(choosing.mean[at]))
            told = confirm(table[:, at], bases, sign=sign, min_effect=least, seed=derive_seed(seed, at))
            row |= {"held_out_delta": told.mean, "held_out_n": told.n, "held_out_p": told.p}
            row |= {"held_out_low": telling.low[at], "held_out_high": telling.high[at]}
            row["verdict"] = (RISES if sign > 0 else FALLS) if told.holds else NO_VERDICT
        rows.append(row)
    if below is not None:
        _look_below(rows, below, bases, seed)
    return rows


def _look_below(rows: list[dict[str, Any]], below: np.ndarray, bases: Bases, seed: int) -> None:
    shown = [at for at, row in enumerate(rows) if row["verdict"]] or list(range(len(rows)))
    cells = paired_cells(below[:, shown], bases.clusters, seed=derive_seed(seed, "before the floor"))
    for at, place in enumerate(shown):
        ends = (cells.mean[at], cells.low[at], cells.high[at], cells.p_corrected[at])
        rows[place] |= dict(zip(FLOOR_COLUMNS, ends, strict=True))
