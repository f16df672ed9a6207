"""Contrasts of paired contexts as rows of a table, with a verdict that one half chose and the other confirmed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import FEW, paired_cells
from mechscope.experiments.changing.selecting import ALPHA, confirm

__all__ = ["FALLS", "NO_VERDICT", "RISES", "VERDICT_COLUMNS", "paired_rows"]

VERDICT_COLUMNS = ("held_out_delta", "held_out_n", "held_out_p", "verdict")
RISES, FALLS, NO_VERDICT = "rises", "falls", ""


def paired_rows(
    table: np.ndarray, bases: Bases, *, least: float, seed: int, above: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """A row for each contrast of `table` [n, contrasts].

    Args:
        table: contrasts in each base context, NaN where not measured.
        least: least mean that can be chosen, in activation units.
        seed: of resamples and sign flips.
        above: the same contrasts, NaN where an activation among them is at zero; their means are added as
            `above_floor` with `n_above_floor` where they are given.
    """
    if not table.shape[1]:
        return []
    first = ~bases.is_held_out
    cells = paired_cells(table, bases.clusters, seed=seed)
    choosing = paired_cells(table[first], bases.clusters[first], seed=seed)
    rows: list[dict[str, Any]] = []
    for at in range(table.shape[1]):
        row = {**cells.row(at), **dict.fromkeys(VERDICT_COLUMNS), "verdict": NO_VERDICT}
        if choosing.p_corrected[at] < ALPHA and abs(choosing.mean[at]) >= least:
            sign = float(np.sign(choosing.mean[at]))
            told = confirm(table[:, at], bases, sign=sign, min_effect=least, seed=derive_seed(seed, at))
            row |= {"held_out_delta": told.mean, "held_out_n": told.n, "held_out_p": told.p}
            row["verdict"] = (RISES if sign > 0 else FALLS) if told.holds else NO_VERDICT
        if above is not None:
            known = above[:, at][~np.isnan(above[:, at])]
            row |= {"above_floor": known.mean() if len(known) >= FEW else None, "n_above_floor": len(known)}
        rows.append(row)
    return rows
