"""Tables and findings on what rows show of interactions, alone or beside an intervention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.changing.corpus_means import CORPUS_COLUMNS, corpus_means
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import FLOOR_RATE, Findings
from mechscope.experiments.interactions.estimates import covers_zero
from mechscope.experiments.interactions.factorial import Corners, Design
from mechscope.experiments.interactions.observed import ObservedInteraction, observe_designs, observed_row
from mechscope.experiments.interactions.tables import Namer, corner_columns, corner_rows
from mechscope.experiments.observing.levels import rows_holding_constant
from mechscope.experiments.observing.slicing import Slice, slice_rows
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["observe_alone", "observed_table", "rows_beside"]


def topics_held(held: Held) -> tuple[str, ...]:
    """What is held constant, which is no confounder."""
    return (*held.change.rungs, *held.change.binaries, *held.change.groups)


def rows_beside(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    corners: Corners,
    bases: Bases,
    held: Held,
    *,
    names: Namer,
    label: Callable[[Design], str],
    confounders: Sequence[str] | None,
    least: float,
) -> None:
    """Write what all rows of the slice show of the designs that were intervened on, and where the two do not agree."""
    rows = rows_holding_constant(slice_rows(spec, context, Findings(), should_sample=False), context, held)
    designs = corners.designs
    seen = observe_designs(
        rows, None, context, designs, leave_out=topics_held(held), confounders=confounders, least=least,
    )  # fmt: skip
    caused = corpus_means(corners.differences("activation"), bases, seed=derive_seed(spec.seed, "corpus"))
    observed_table(findings, designs, seen, names, caused=caused)
    say_observed(findings, designs, seen, caused, label, least=least)


def observed_table(
    findings: Findings,
    designs: Sequence[Design],
    seen: Sequence[ObservedInteraction],
    names: Namer,
    *,
    caused: Sequence[Mapping[str, float]] = (),
) -> None:
    """Write what the rows show of every design: `observed_interactions`, and `observed_corners` with their rows.

    `caused`: beside it the intervention on the scale of activations, weighted to the corpus.
    """
    columns = (*names(designs[0]), "n", "adjusted", "adjusted_low", "adjusted_high", "p", "p_corrected", "crude",
               *(CORPUS_COLUMNS if caused else ()))  # fmt: skip
    rows, corners = [], []
    for at, (design, one) in enumerate(zip(designs, seen, strict=True)):
        row: dict[str, Any] = {**names(design), "n": sum(one.n), "adjusted": one.value, "adjusted_low": one.low}
        row |= {"adjusted_high": one.high, "p": one.p, "p_corrected": one.p_corrected}
        rows.append(row | {"crude": one.crude if min(one.n) >= FEW else None, **(caused[at] if caused else {})})
        corners += [
            names(design) | corner for corner in corner_rows({"mean": one.means, "zero": one.zeros, "n": one.n})
        ]
    caption = (
        f"OBSERVATIONAL: what rows with all of them have beyond the lower-order sums, zeros included, by least squares "
        f"adjusted for {seen[0].words}; p corrected by Holm over {len(designs)}; crude: of the corners' means."
    )
    beside = " corpus_: the intervention on activations, weighted to the rows of the slice." if caused else ""
    findings.table("observed_interactions", columns, rows, caption=caption + beside)
    order = len(designs[0])
    columns = (*names(designs[0]), *corner_columns(order, ("mean", "zero", "n")))
    said = "OBSERVATIONAL: mean of each corner, share of its rows at zero, and its rows."
    findings.table("observed_corners", columns, corners, caption=said)


def observe_alone(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    found: Slice,
    is_held_out: np.ndarray,
    designs: Sequence[Design],
    held: Held,
    *,
    names: Namer,
    confounders: Sequence[str] | None,
    least: float,
    verdicts: Mapping[int, str],
) -> tuple[list[dict[str, Any]], list[ObservedInteraction]]:
    """Observe every design: a row each for the main table, largest first, and what was found, in order.

    Warns of designs with a corner whose rows are mostly at zero: there a floor makes interactions of what adds up.
    """
    seen = observe_designs(found, is_held_out, context, designs, leave_out=topics_held(held),
                           confounders=confounders, least=least)  # fmt: skip
    rows = [
        {**names(design), **observed_row(one), "verdict": verdicts.get(one.sign, "")}
        for design, one in zip(designs, seen, strict=True)
    ]
    n_floored = sum(bool(np.nan_to_num(one.zeros).max() >= FLOOR_RATE) for one in seen)
    if n_floored:
        findings.warn(
            f"floor: in {n_floored} of {len(seen)} combinations some corner has half of its rows or more at zero, "
            "where effects that add up before the floor interact after it; intervene to look before it"
        )
    findings.add(n_at_floor=n_floored)
    findings.n_contexts_tested, findings.n_comparisons = len(found), sum("p" in row for row in rows)
    findings.aggregate(n_samples=len(found))
    findings.add(min_effect=least)
    return sorted(rows, key=lambda row: -abs(row.get("mean_delta") or 0.0)), seen


def say_observed(
    findings: Findings,
    designs: Sequence[Design],
    seen: Sequence[ObservedInteraction],
    caused: Sequence[Mapping[str, float]],
    label: Callable[[Design], str],
    *,
    least: float,
) -> None:
    """Findings on designs where the rows and the intervention (`caused`, on activations, as in the corpus) differ."""
    kinds: dict[str, list[str]] = {}
    for design, one, done in zip(designs, seen, caused, strict=True):
        value, low, high = (done[name] for name in CORPUS_COLUMNS)
        is_seen, is_done = _is_away(one.low, one.high), _is_away(low, high)
        kind = None
        if is_seen and is_done and np.sign(one.value) != np.sign(value):
            kind = "rows and intervention point in opposite directions"
        elif is_seen and one.p_corrected < ALPHA and abs(one.value) >= least and not is_done and abs(value) < least:
            kind = "rows interact though the intervention finds nothing that counts"
        elif is_seen and one.p_corrected < ALPHA and _exceeds(one, low, high) and abs(one.value) >= least:
            kind = "rows interact more than twice as much as the intervention"
        elif is_done and abs(value) >= least and not is_seen and abs(one.value) < least:
            kind = "the intervention finds what the rows do not show"
        if kind is not None:
            text = f"{label(design)} (observed {one.value:+.3g}, intervened {value:+.3g})"
            kinds.setdefault(kind, []).append(text)
    for kind, places in kinds.items():
        findings.find(f"{kind}: {'; '.join(places)}")


def _exceeds(one: ObservedInteraction, low: float, high: float) -> bool:
    """Whether all of the observed interval is more than twice all of the other, on the same side of 0."""
    return one.low > 2 * max(high, 0.0) if one.value > 0 else one.high < 2 * min(low, 0.0)


def _is_away(low: float, high: float) -> bool:
    return bool(low <= high) and not covers_zero(low, high)
