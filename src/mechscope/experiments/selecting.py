"""Choosing on one half and confirming on the other, so that nothing selected is judged by what selected it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.experiments.base_contexts import Bases
from mechscope.experiments.cells import FEW, PairedCells, paired_cells
from mechscope.stats import Test, sign_flip

__all__ = ["ALPHA", "Confirmation", "confirm", "lowest_moving", "steepest", "with_halves"]

ALPHA = 0.05


@dataclass(frozen=True)
class Confirmation:
    """What the held-out half says of a cell that the other half chose.

    Attributes:
        mean: mean difference in the held-out half. n: its differences. p: one-sided, in the direction chosen.
        holds: whether p is below 0.05 and the mean at least half the least effect that counts.
    """

    mean: float
    n: int
    p: float
    holds: bool


def with_halves(deltas: np.ndarray, bases: Bases, *, seed: int) -> tuple[PairedCells, PairedCells]:
    """Cells over all base contexts, to show; and over the half that may select."""
    selecting = ~bases.is_held_out
    return (
        paired_cells(deltas, bases.clusters, seed=seed),
        paired_cells(deltas[selecting], bases.clusters[selecting], seed=seed),
    )


def lowest_moving(cells: PairedCells, *, min_effect: float) -> int | None:
    """The first cell with a corrected p below 0.05 and a mean of at least `min_effect` in size; None when none has."""
    moving = (cells.p_corrected < ALPHA) & (np.abs(cells.mean) >= min_effect)
    return int(np.argmax(moving)) if moving.any() else None


def steepest(cells: PairedCells, *, min_effect: float) -> int | None:
    """The moving cell with the largest mean in size; None when none moves."""
    moving = (cells.p_corrected < ALPHA) & (np.abs(cells.mean) >= min_effect)
    return int(np.argmax(np.where(moving, np.abs(cells.mean), -1.0))) if moving.any() else None


def confirm(deltas: np.ndarray, bases: Bases, *, sign: float, min_effect: float, seed: int) -> Confirmation:
    """Test differences [n] of the chosen cell in the held-out half, in the direction chosen (`sign`)."""
    held = bases.is_held_out & ~np.isnan(deltas)
    values, clusters = deltas[held], bases.clusters[held]
    if len(np.unique(clusters)) < FEW:
        return Confirmation(float(values.mean()) if len(values) else float("nan"), len(values), 1.0, holds=False)
    test: Test = sign_flip(values, seed=seed, clusters=clusters, alternative="greater" if sign > 0 else "less")
    holds = test.p < ALPHA and sign * test.value >= 0.5 * min_effect
    return Confirmation(test.value, test.n, test.p, holds=bool(holds))
