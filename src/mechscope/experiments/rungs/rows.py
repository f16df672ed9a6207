"""The rows of a slice along a ladder: adjusted increments and bends, and where an intervention does not agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.levels import ONLY_DONE, ObservedLevels, Side, difference_of, observe_levels
from mechscope.experiments.observing.slicing import Slice
from mechscope.experiments.rungs.ladder import Ladder
from mechscope.experiments.rungs.observed import observed_rows

__all__ = ["ObservedLadder", "disagreeing_pairs", "observe_ladder"]


@dataclass(frozen=True)
class ObservedLadder:
    """What rows show along a ladder.

    Attributes:
        ladder: without "absent" where too few rows lack the family. observed: the contrasts behind it.
        increments, bends: rows of tables, in the ladder's order. n: rows at the ladder's levels.
    """

    ladder: Ladder
    observed: ObservedLevels
    increments: list[dict[str, Any]]
    bends: list[dict[str, Any]]
    n: int


def observe_ladder(
    found: Slice,
    family: str,
    ladder: Ladder,
    context: ExperimentContext,
    findings: Findings,
    *,
    held: Held,
    confounders: Sequence[str] | None,
    least: float,
    seed: int,
) -> ObservedLadder:
    """Contrast the rows of a slice along a ladder, adjusted. Raises as `observe_levels` does."""
    level = context.family_rungs(family)[found.rows]
    if ladder.reference == 0 and (level == 0).sum() < FEW:
        findings.warn(f"too few rows without {family}: rows are counted from rung {ladder.levels[1]}")
        ladder = ladder.without_reference()
    observed = observe_levels(
        found,
        level,
        context,
        levels=ladder.levels[1:],
        reference=ladder.reference,
        leave_out=(family, *held.change.rungs, *held.change.binaries, *held.change.groups),
        confounders=confounders,
        seed=seed,
    )
    increments, bends = (
        observed_rows(observed.contrasts, observed.halves, weights, least=least, seed=seed)
        for weights in (ladder.increment_weights(), ladder.bend_weights())
    )
    return ObservedLadder(ladder, observed, increments, bends, int(np.isin(level, ladder.levels).sum()))


def disagreeing_pairs(
    observed: Mapping[tuple[int, int], Mapping[str, Any]],
    caused: Mapping[tuple[int, int], Mapping[str, Any]],
    *,
    least: float,
) -> Iterator[str]:
    """Sentences on pairs of rungs where rows and intervention do not agree: see `difference_of`."""
    for pair, done in caused.items():
        row = observed.get(pair)
        if row is None:
            continue
        one, other = (Side.of(part, "mean_delta", "low", "high", part["p_corrected"]) for part in (row, done))
        kind = None if one is None or other is None else difference_of(one, other, least)
        if kind is not None and kind != ONLY_DONE:
            numbers = f"(observed {row['mean_delta']:+.3g}, intervened {done['mean_delta']:+.3g})"
            yield f"{kind} at {pair[0]} -> {pair[1]} {numbers}"
