"""Choosing on one half and confirming on the other, so that nothing selected is judged by what selected it.

Base contexts are drawn evenly from the regions of the feature's activation, so that high ones are over-represented, and
where the base is itself one of the two conditions, any change of it falls back on average: regression to the mean. The
differences weighted to the corpus do not have this bias. What is chosen or confirmed must therefore be shown by both,
the plain mean and the weighted one, in one direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import FEW, PairedCells, flag_of, least_p, n_clusters_of, paired_cells
from mechscope.stats import sign_flip, sign_flip_cells

__all__ = ["ALPHA", "Confirmation", "confirm", "confirm_cells", "moving_cells", "with_halves"]

ALPHA = 0.05
N_FLIPS = 1999


@dataclass(frozen=True)
class Confirmation:
    """What the held-out half says of a cell that the other half chose.

    Attributes:
        mean: mean difference in the held-out half. n: its differences. p: one-sided, in the direction chosen.
        holds: whether p is below 0.05 and the mean at least half the least effect that counts.
        flag: what to beware of at so many independent contexts; empty above 20.
    """

    mean: float
    n: int
    p: float
    holds: bool
    flag: str = ""


def with_halves(deltas: np.ndarray, bases: Bases, *, seed: int) -> tuple[PairedCells, PairedCells]:
    """Cells over all base contexts, to show; and over the half that may select, without intervals.

    The corrected p of the latter is the larger of the plain test's and the weighted one's; 1 where they part in sign.
    """
    first = ~bases.is_held_out
    everything = paired_cells(deltas, bases.clusters, seed=seed)
    plain, weighted = (
        paired_cells(table[first], bases.clusters[first], seed=seed, should_bound=False)
        for table in (deltas, deltas * bases.weights[:, None])
    )
    agree = np.sign(plain.mean) == np.sign(weighted.mean)
    both = np.where(agree, np.maximum(plain.p_corrected, weighted.p_corrected), 1.0)
    return everything, replace(plain, p_corrected=np.where(np.isnan(plain.p_corrected), np.nan, both))


def moving_cells(cells: PairedCells, *, min_effect: float) -> list[int]:
    """The cells with a corrected p below 0.05 and a mean of at least `min_effect` in size, in order."""
    moving = (cells.p_corrected < ALPHA) & (np.abs(cells.mean) >= min_effect)
    found: list[int] = np.flatnonzero(moving).tolist()
    return found


def confirm(deltas: np.ndarray, bases: Bases, *, sign: float, min_effect: float, seed: int) -> Confirmation:
    """Test differences [n] of the chosen cell in the held-out half, in the direction chosen (`sign`)."""
    held = bases.is_held_out & ~np.isnan(deltas)
    values, clusters = deltas[held], bases.clusters[held]
    flag = flag_of(len(np.unique(clusters)))
    if len(np.unique(clusters)) < FEW:
        mean = float(values.mean()) if len(values) else float("nan")
        return Confirmation(mean, len(values), 1.0, holds=False, flag=flag)
    plain, weighted = (
        sign_flip(column, seed=seed, clusters=clusters, alternative="greater" if sign > 0 else "less")
        for column in (values, values * bases.weights[held])
    )
    p = max(plain.p, weighted.p, float(least_p(values[:, None], clusters, n_sides=1)[0]))
    holds = p < ALPHA and sign * plain.value >= 0.5 * min_effect
    return Confirmation(plain.value, plain.n, p, holds=bool(holds), flag=flag)


def confirm_cells(
    deltas: np.ndarray,
    bases: Bases,
    *,
    signs: np.ndarray,
    min_effect: float,
    seed: int,
    should_correct: bool = True,
) -> list[Confirmation]:
    """Test differences [n, cells] of several chosen cells in the held-out half, each in its direction (`signs`).

    The p of each is corrected over the cells given (max-T), so that one of them may be picked by what held;
    `should_correct` False leaves each p as `confirm` gives it, for cells of which each was chosen by itself.
    """
    held = bases.is_held_out
    counts = n_clusters_of(deltas[held], bases.clusters[held])
    is_tested = counts >= FEW
    n = (~np.isnan(deltas[held])).sum(axis=0)
    mean, p = np.full(len(n), np.nan), np.ones(len(n))
    if is_tested.any():
        table = (deltas * signs)[held][:, is_tested]
        kept = ~np.isnan(table).all(axis=1)
        clusters, weights = bases.clusters[held][kept], bases.weights[held][kept][:, None]
        tests, weighted = (
            sign_flip_cells(
                part,
                seed=seed,
                clusters=clusters,
                n_permutations=N_FLIPS,
                alternative="greater",
                is_step_down=should_correct,
            )
            for part in (table[kept], table[kept] * weights)
        )
        mean[is_tested] = tests.value * signs[is_tested]
        least = least_p(table[kept], clusters, n_sides=1)
        plain, other = ((one.p_adjusted if should_correct else one.p) for one in (tests, weighted))
        p[is_tested] = np.maximum(np.maximum(plain, other), least)
    holds = (p < ALPHA) & (signs * np.nan_to_num(mean) >= 0.5 * min_effect)
    return [
        Confirmation(float(mean[at]), int(n[at]), float(p[at]), holds=bool(holds[at]), flag=flag_of(int(counts[at])))
        for at in range(len(n))
    ]
