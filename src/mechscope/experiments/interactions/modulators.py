"""What is written of intervened modulators: the pair without and with each, aggregates and claims."""

from __future__ import annotations

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.algorithms import corner_signs
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, paired_cells
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.estimates import Estimates
from mechscope.experiments.interactions.factorial import Corners, Design, scale_words
from mechscope.experiments.interactions.tables import HELD_COLUMNS, SIDES, design_rows

__all__ = ["claim_modulators", "modulator_label", "modulator_names", "modulators_table", "without_and_with"]

SIDE_COLUMNS = tuple(f"{side}{end}" for side in SIDES for end in ("", "_low", "_high"))
MODULATOR_COLUMNS = ("modulator", *CELL_COLUMNS, *SIDE_COLUMNS, *HELD_COLUMNS)
VERDICTS = {1: "raises the interaction", -1: "lowers the interaction"}


def modulator_names(design: Design) -> dict[str, str]:
    """The column that names a modulator."""
    return {"modulator": design[2].name}


def modulator_label(design: Design) -> str:
    """A modulator in words."""
    return design[2].name


def without_and_with(corners: Corners, found: Estimates, bases: Bases, *, seed: int) -> list[dict[str, float]]:
    """The pair's second difference without and with each modulator, with intervals, on the stated scale."""
    values = corners.on(found.stated)
    rows: list[dict[str, float]] = [{} for _ in corners.designs]
    for at, side in enumerate(SIDES):
        second = np.where(np.isfinite(values).all(axis=2), values[:, :, 4 * at : 4 * at + 4] @ corner_signs(2), np.nan)
        cells = paired_cells(second, bases.clusters, seed=derive_seed(seed, side))
        for index, row in enumerate(rows):
            row |= {side: cells.mean[index], f"{side}_low": cells.low[index], f"{side}_high": cells.high[index]}
    return rows


def modulators_table(
    findings: Findings,
    corners: Corners,
    found: Estimates,
    sides: list[dict[str, float]],
    context: ExperimentContext,
) -> None:
    """Write the table `conditional_interactions`, largest first, and what of it is an aggregate."""
    first, second = corners.designs[0][0].name, corners.designs[0][1].name
    rows = [row | side for row, side in zip(design_rows(corners, found, modulator_names, VERDICTS), sides, strict=True)]
    rows.sort(key=lambda row: -abs(row["mean_delta"]) if row["n"] else 1.0)
    findings.table(
        "conditional_interactions",
        MODULATOR_COLUMNS,
        rows,
        caption=f"Interaction of {first} and {second} {scale_words(found.stated, context)}, without and with the "
        "modulator; mean_delta: with less without, paired. Intervals: 95 %, cluster bootstrap; p: sign-flip, max-T "
        f"over {found.main.n_tested} modulators; effect: d_z. A verdict holds on this scale alone; it was chosen on "
        "one half of the base contexts and confirmed on the other.",
    )
    confirmed = [row["modulator"] for row in rows if row["verdict"]]
    findings.add(modulators=confirmed, n_modulators=len(rows), min_effect=found.least[found.stated])


def claim_modulators(
    findings: Findings,
    corners: Corners,
    found: Estimates,
    sides: list[dict[str, float]],
    context: ExperimentContext,
    *,
    feature: int,
) -> None:
    """Claim every modulator that was chosen and confirmed, with the interaction without and with it."""
    words = scale_words(found.stated, context)
    for at, design in enumerate(corners.designs):
        told, side = found.told[at], sides[at]
        if not found.signs[at] or told is None:
            continue
        is_turned = side["without_low"] * side["without_high"] > 0 and side["with_low"] * side["with_high"] > 0
        turned = ", turning its sign" if is_turned and side["without"] * side["with"] < 0 else ""
        findings.claim(
            f"{design[2].name} {VERDICTS[found.signs[at]]} of {design[0].name} and {design[1].name} on feature "
            f"{feature} {words} from {side['without']:+.3g} to {side['with']:+.3g}{turned} "
            f"(triple difference {found.main.mean[at]:+.3g}, held out {told.mean:+.3g})"
        )
