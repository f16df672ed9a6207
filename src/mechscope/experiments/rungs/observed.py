"""Contrasts between the levels of an adjusted regression as rows of a table, with a verdict that both halves give."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.observing.adjusting import LevelContrasts, joint_p
from mechscope.experiments.rungs.paired import FALLS, NO_VERDICT, RISES
from mechscope.stats import Z_95

__all__ = ["observed_rows"]


def observed_rows(
    contrasts: LevelContrasts,
    halves: tuple[LevelContrasts, LevelContrasts],
    weights: np.ndarray,
    *,
    least: float,
    seed: int,
) -> list[dict[str, Any]]:
    """A row for each weighted sum of the levels' adjusted differences.

    Args:
        contrasts, halves: of the levels above the reference, over all rows and over the two halves.
        weights: float64 [contrasts, levels], the reference's first (its difference to itself is 0).
        least: least size that the first half can choose. seed: of the draws behind the corrected p.
    """
    if not len(weights):
        return []
    everything, first, second = (_Estimates(part, weights, seed) for part in (contrasts, *halves))
    rows = []
    for at in range(len(weights)):
        is_chosen = first.p_corrected[at] < ALPHA and abs(first.value[at]) >= least
        is_same = np.sign(first.value[at]) == np.sign(second.value[at]) and second.p[at] < ALPHA
        sign = RISES if first.value[at] > 0 else FALLS
        half = {
            "held_out_delta": second.value[at],
            "held_out_low": second.value[at] - Z_95 * second.error[at],
            "held_out_high": second.value[at] + Z_95 * second.error[at],
            "held_out_n": int(second.n[at]),
            "held_out_p": second.p[at],
        }
        row = {**everything.row(at), **(half if is_chosen else dict.fromkeys(half))}
        rows.append(row | {"verdict": sign if is_chosen and is_same else NO_VERDICT})
    return rows


class _Estimates:
    """Weighted sums with their errors and p; NaN where a level they need has no coefficient or fewer than 5 rows."""

    def __init__(self, part: LevelContrasts, weights: np.ndarray, seed: int) -> None:
        beside = weights[:, 1:]
        counts = np.concatenate([[part.n_reference], part.n])
        self.n = np.array([counts[row != 0].min() for row in weights])
        adjusted = np.nan_to_num(part.adjusted)
        is_there = ~np.isnan(part.adjusted) & (part.n >= FEW)
        covariance = beside @ part.covariance @ beside.T
        error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        known = (beside[:, ~is_there] == 0).all(axis=1) & (error > 0) & (self.n >= FEW)
        self.value = np.where(known, beside @ adjusted, np.nan)
        self.error = np.where(known, error, np.nan)
        self.p, self.p_corrected = joint_p(self.value / self.error, covariance, known, seed)

    def row(self, at: int) -> dict[str, Any]:
        """The columns of a cell; no standardised effect."""
        value, error = self.value[at], self.error[at]
        ends = {"low": value - Z_95 * error, "high": value + Z_95 * error, "std_error": error}
        tests = {"p": self.p[at], "p_corrected": self.p_corrected[at], "effect": None}
        return {"mean_delta": value, **ends, **tests, "n": int(self.n[at]), "flag": flag_of(int(self.n[at]))}
