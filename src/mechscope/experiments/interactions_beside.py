"""Tables and findings on what rows show of interactions, alone or beside an intervention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.base_contexts import Bases
from mechscope.experiments.cells import FEW
from mechscope.experiments.changes import Held
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.corpus_means import CORPUS_COLUMNS, corpus_means
from mechscope.experiments.factorial import Corners, Design
from mechscope.experiments.findings import Findings
from mechscope.experiments.interaction_estimates import covers_zero
from mechscope.experiments.interaction_tables import Namer, corner_names
from mechscope.experiments.observed_interactions import ObservedInteraction, observe_designs
from mechscope.experiments.observing import rows_holding_constant
from mechscope.experiments.selecting import ALPHA
from mechscope.experiments.slicing import slice_rows
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["observed_table", "rows_beside", "topics_held"]


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
        rows, None, context, designs, leave_out=topics_held(held), confounders=confounders, least=least, seed=spec.seed,
    )  # fmt: skip
    caused = corpus_means(corners.differences("activation"), bases, seed=derive_seed(spec.seed, "corpus"))
    observed_table(findings, "observed_interactions", designs, seen, names, caused=caused)
    say_observed(findings, designs, seen, caused, label, least=least)


def observed_table(
    findings: Findings,
    name: str,
    designs: Sequence[Design],
    seen: Sequence[ObservedInteraction],
    names: Namer,
    *,
    caused: Sequence[Mapping[str, float]] = (),
) -> None:
    """Write what the rows show of every design, adjusted and crude, with rows and means of every corner.

    `caused`: beside it the intervention on the scale of activations, weighted to the corpus.
    """
    words = corner_names(len(designs[0]))
    columns = (*names(designs[0]), "n", "adjusted", "adjusted_low", "adjusted_high", "p", "p_corrected", "crude",
               *(CORPUS_COLUMNS if caused else ()), *(f"n_{word}" for word in words),
               *(f"mean_{word}" for word in words))  # fmt: skip
    rows = []
    for at, (design, one) in enumerate(zip(designs, seen, strict=True)):
        row: dict[str, Any] = {**names(design), "n": sum(one.n), "adjusted": one.value, "adjusted_low": one.low}
        row |= {"adjusted_high": one.high, "p": one.p, "p_corrected": one.p_corrected}
        row |= {"crude": one.crude if min(one.n) >= FEW else None, **(caused[at] if caused else {})}
        row |= {f"n_{word}": n for word, n in zip(words, one.n, strict=True)}
        rows.append(row | {f"mean_{word}": mean for word, mean in zip(words, one.means, strict=True)})
    caption = (
        f"OBSERVATIONAL: what rows with all of them have beyond the lower-order sums, zeros included, by least squares "
        f"adjusted for {seen[0].words}; p corrected by Holm over {len(designs)}; crude: of the corners' means."
    )
    beside = " corpus_: the intervention on activations, weighted to the rows of the slice." if caused else ""
    findings.table(name, columns, rows, caption=caption + beside)


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
        elif is_done and abs(value) >= least and not is_seen and abs(one.value) < least:
            kind = "the intervention finds what the rows do not show"
        if kind is not None:
            text = f"{label(design)} (observed {one.value:+.3g}, intervened {value:+.3g})"
            kinds.setdefault(kind, []).append(text)
    for kind, places in kinds.items():
        findings.find(f"{kind}: {'; '.join(places)}")


def _is_away(low: float, high: float) -> bool:
    return bool(low <= high) and not covers_zero(low, high)
