"""Choosing on one half and confirming on the other, so that nothing selected is judged by what selected it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.experiments.base_contexts import Bases
from mechscope.experiments.cells import FEW, PairedCells, paired_cells
from mechscope.stats import Test, sign_flip, sign_flip_cells

__all__ = ["ALPHA", "Confirmation", "confirm", "confirm_cells", "moving_cells", "with_halves"]

ALPHA = 0.05
N_FLIPS = 4999


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
    """Cells over all base contexts, to show; and over the half that may select, without intervals."""
    selecting = ~bases.is_held_out
    return (
        paired_cells(deltas, bases.clusters, seed=seed),
        paired_cells(deltas[selecting], bases.clusters[selecting], seed=seed, should_bound=False),
    )


def moving_cells(cells: PairedCells, *, min_effect: float) -> list[int]:
    """The cells with a corrected p below 0.05 and a mean of at least `min_effect` in size, in order."""
    moving = (cells.p_corrected < ALPHA) & (np.abs(cells.mean) >= min_effect)
    found: list[int] = np.flatnonzero(moving).tolist()
    return found


def confirm(deltas: np.ndarray, bases: Bases, *, sign: float, min_effect: float, seed: int) -> Confirmation:
    """Test differences [n] of the chosen cell in the held-out half, in the direction chosen (`sign`)."""
    held = bases.is_held_out & ~np.isnan(deltas)
    values, clusters = deltas[held], bases.clusters[held]
    if len(np.unique(clusters)) < FEW:
        return Confirmation(float(values.mean()) if len(values) else float("nan"), len(values), 1.0, holds=False)
    test: Test = sign_flip(values, seed=seed, clusters=clusters, alternative="greater" if sign > 0 else "less")
    holds = test.p < ALPHA and sign * test.value >= 0.5 * min_effect
    return Confirmation(test.value, test.n, test.p, holds=bool(holds))


def confirm_cells(
    deltas: np.ndarray, bases: Bases, *, signs: np.ndarray, min_effect: float, seed: int
) -> list[Confirmation]:
    """Test differences [n, cells] of several chosen cells in the held-out half, each in its direction (`signs`).

    The p of each is corrected over the cells given (max-T), so that one of them may be picked by what held.
    """
    held = bases.is_held_out
    counts = [len(np.unique(bases.clusters[held & column])) for column in (~np.isnan(deltas)).T]
    is_tested = np.array(counts) >= FEW
    n = (~np.isnan(deltas[held])).sum(axis=0)
    mean, p = np.full(len(n), np.nan), np.ones(len(n))
    if is_tested.any():
        table = (deltas * signs)[held][:, is_tested]
        kept = ~np.isnan(table).all(axis=1)
        tests = sign_flip_cells(
            table[kept], seed=seed, clusters=bases.clusters[held][kept], n_permutations=N_FLIPS, alternative="greater"
        )
        mean[is_tested], p[is_tested] = tests.value * signs[is_tested], tests.p_adjusted
    holds = (p < ALPHA) & (signs * np.nan_to_num(mean) >= 0.5 * min_effect)
    return [Confirmation(float(mean[at]), int(n[at]), float(p[at]), holds=bool(holds[at])) for at in range(len(n))]
