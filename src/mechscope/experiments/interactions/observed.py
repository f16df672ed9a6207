"""Interactions as rows show them: what rows with all factors have beyond the lower-order sums, adjusted.

    y = stratum + sum of beta_T [all of T there], over the sets T of factors, + covariates gamma

by least squares; the interaction of order k is beta of all k factors, an association. Zeros are part of every mean.
Chosen on one half of the rows (clusters never cut), confirmed on the other in direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.core import derive_seed, numpy_generator
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.interactions.factorial import Design
from mechscope.experiments.observing.adjusting import LevelContrasts, contrast_levels
from mechscope.experiments.observing.confounders import Confounders, confounders_of
from mechscope.experiments.observing.slicing import Slice
from mechscope.stats import Z_95, holm

__all__ = ["ObservedInteraction", "halves_of", "observe_designs", "observed_row"]


@dataclass(frozen=True)
class ObservedInteraction:
    """One design in the rows.

    Attributes:
        value, low, high, p: of the adjusted interaction, NaN when a corner has fewer than 5 rows. p_corrected: by Holm
            over the designs.
        crude: the difference of order k of the corners' means.
        n: rows in each corner; means, zeros: mean of each corner, and share of its rows at zero.
        spread: standard deviation of the rows, for a standardised effect.
        words: the confounders.
        sign: +1 or -1 where one half chose it and the other confirmed it, else 0. held_out: value and p of that half.
    """

    value: float
    low: float
    high: float
    p: float
    p_corrected: float
    crude: float
    n: tuple[int, ...]
    means: tuple[float, ...]
    zeros: tuple[float, ...]
    spread: float
    words: str
    sign: int
    held_out: tuple[float, float]


def halves_of(found: Slice, context: ExperimentContext, *, seed: int) -> np.ndarray:
    """Which rows are held out, boolean [n]; about half of them, clusters whole."""
    _, cluster = np.unique(context.clusters_of(found.rows), return_inverse=True)
    drawn = numpy_generator(seed, "observed halves").permutation(int(cluster.max()) + 1)
    is_held_out: np.ndarray = (drawn % 2 == 1)[cluster.reshape(-1)]
    return is_held_out


def observe_designs(
    found: Slice,
    is_held_out: np.ndarray | None,
    context: ExperimentContext,
    designs: Sequence[Design],
    *,
    leave_out: Sequence[str],
    confounders: Sequence[str] | None,
    least: float,
    seed: int,
) -> list[ObservedInteraction]:
    """The adjusted interaction of every design.

    Args:
        found, is_held_out: the rows of the slice, and which of them confirm; None: nothing is selected.
        context: the subject.
        designs: factors of each.
        leave_out: no confounders, beside what the factors set: what is held constant.
        confounders: what to adjust for; None for the domain's own.
        least: the least interaction that counts.
        seed: of the p values.

    Raises NotFoundError for an unknown confounder. Cost: a regression a design; three with halves.
    """
    raw = []
    for design in designs:
        levels = np.stack([factor.of_rows(context)[found.rows] for factor in design], axis=1)
        known = confounders_of(context, leave_out=(*leave_out, *(f.topic for f in design)), names=confounders)
        raw.append(_one(found, levels, is_held_out, context, known, seed))
    corrected, chosen = (_corrected(np.array([one[part] for one in raw])) for part in ("p", "first_p"))
    results = []
    for one, p_corrected, p_chosen in zip(raw, corrected, chosen, strict=True):
        first, other, other_p = one.pop("first"), one.pop("other"), one.pop("other_p")
        one.pop("first_p")
        holds = p_chosen < ALPHA and abs(first) >= least and other_p < ALPHA and np.sign(first) == np.sign(other)
        sign = int(np.sign(first)) if holds else 0
        results.append(ObservedInteraction(p_corrected=float(p_corrected), sign=sign, held_out=(other, other_p), **one))
    return results


def observed_row(found: ObservedInteraction) -> dict[str, Any]:
    """The columns that every table of cells has, and the held-out half."""
    row: dict[str, Any] = {"n": sum(found.n), "flag": flag_of(min(found.n))}
    if np.isfinite(found.value):
        row |= {"mean_delta": found.value, "std_error": (found.high - found.low) / (2 * Z_95)}
        row |= {"low": found.low, "high": found.high, "p": found.p, "p_corrected": found.p_corrected}
        row["effect"] = found.value / found.spread if found.spread > 0 else None
        row |= {"held_out_delta": found.held_out[0], "held_out_p": found.held_out[1]}
    return row


def _corrected(p: np.ndarray) -> np.ndarray:
    return p if np.isnan(p).all() else holm(p, skip_nan=True)


def _one(
    found: Slice,
    levels: np.ndarray,
    is_held_out: np.ndarray | None,
    context: ExperimentContext,
    known: Confounders,
    seed: int,
) -> dict[str, Any]:
    """One design: all rows, and the two halves."""
    order = levels.shape[1]
    kept = np.asarray((levels >= 0).all(axis=1))
    corner = np.where(kept, (levels == 1) @ (1 << np.arange(order)), -1)
    n = np.bincount(corner[kept], minlength=1 << order)
    sums = np.bincount(corner[kept], weights=found.values[kept], minlength=1 << order)
    at_zero = np.bincount(corner[kept & (found.values <= 0)], minlength=1 << order)
    means, zeros = (np.where(n > 0, part / np.maximum(n, 1), np.nan) for part in (sums, at_zero))
    clusters = context.clusters_of(found.rows)

    def regressed(keep: np.ndarray) -> LevelContrasts | None:
        if np.bincount(corner[keep], minlength=1 << order).min() < FEW:
            return None
        here = corner[keep]
        lower = np.stack([(here & subset) == subset for subset in range(1, (1 << order) - 1)], axis=1)
        strata, covariates = known.of_rows(found.rows[keep])
        return contrast_levels(
            found.values[keep],
            (here == (1 << order) - 1).astype(np.int64),
            (1,),
            reference=0,
            strata=strata,
            covariates=np.concatenate([lower, covariates], axis=1),
            clusters=clusters[keep],
            seed=derive_seed(seed, "observed"),
        )

    halves_kept = [] if is_held_out is None else [kept & ~is_held_out, kept & is_held_out]
    parts = [regressed(kept), *(regressed(np.asarray(keep)) for keep in halves_kept)]
    value, low, high, p = (
        float("nan") if parts[0] is None else float(getattr(parts[0], name)[0])
        for name in ("adjusted", "adjusted_low", "adjusted_high", "p")
    )
    halves = [
        (float("nan"), float("nan")) if part is None else (float(part.adjusted[0]), float(part.p[0]))
        for part in (parts[1:] or [None, None])
    ]
    signs = np.array([(-1) ** (order - bin(number).count("1")) for number in range(1 << order)])
    return {
        "value": value, "low": low, "high": high, "p": p, "crude": float(means @ signs), "n": tuple(n.tolist()),
        "means": tuple(means.tolist()), "zeros": tuple(zeros.tolist()),
        "spread": float(found.values[kept].std(ddof=1)) if kept.sum() > 1 else 0.0,
        "words": known.words,
        "first": halves[0][0], "first_p": halves[0][1], "other": halves[1][0], "other_p": halves[1][1],
    }  # fmt: skip
