"""What is written of intervened pairs: the main table, aggregates and claims."""

from __future__ import annotations

import numpy as np

from mechscope.experiments.changing.cells import CELL_COLUMNS
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.estimates import Estimates
from mechscope.experiments.interactions.factorial import Corners, Design, scale_words
from mechscope.experiments.interactions.tables import ALONE_COLUMNS, HELD_COLUMNS, alone_row, design_rows

__all__ = ["PAIR_VERDICTS", "claim_pairs", "pair_label", "pair_names", "pairs_table"]

PAIR_COLUMNS = ("first", "second", *CELL_COLUMNS, *ALONE_COLUMNS, *HELD_COLUMNS)
PAIR_VERDICTS = {1: "synergy", -1: "redundancy"}


def pair_names(design: Design) -> dict[str, str]:
    """The columns that name a pair."""
    return {"first": design[0].name, "second": design[1].name}


def pair_label(design: Design) -> str:
    """A pair in words."""
    return f"{design[0].name} and {design[1].name}"


def pairs_table(findings: Findings, corners: Corners, found: Estimates, context: ExperimentContext) -> None:
    """Write the table `pair_interactions`, largest first, and what of it is an aggregate."""
    every = design_rows(corners, found, pair_names, PAIR_VERDICTS)
    rows = [row | alone_row(corners, found, at) for at, row in enumerate(every)]
    order = sorted(range(len(rows)), key=lambda at: -abs(rows[at]["mean_delta"]) if rows[at]["n"] else 1.0)
    rows = [rows[at] for at in order]
    words = scale_words(found.stated, context)
    findings.table(
        "pair_interactions",
        PAIR_COLUMNS,
        rows,
        caption=f"f(both) - f(first) - f(second) + f(neither), f being the feature {words}; paired. Intervals: 95 %, "
        f"cluster bootstrap; p: sign-flip, max-T over {found.main.n_tested} pairs; effect: d_z. Synergy (above 0) and "
        "redundancy (below 0) hold on this scale alone; where both lower the feature, synergy means less lowering than "
        "the sum. Chosen on one half of the base contexts, confirmed on the other.",
    )
    tested = [row for row in rows if row["low"] is not None and row["n"]]
    for word in PAIR_VERDICTS.values():
        confirmed = [row for row in tested if row["verdict"] == word]
        findings.add(**{f"n_{word}": len(confirmed)})
        findings.add(**{f"top_{word}": [confirmed[0]["first"], confirmed[0]["second"]] if confirmed else None})
    findings.add(n_pairs=len(rows), min_effect=found.least[found.stated])


def claim_pairs(
    findings: Findings, corners: Corners, found: Estimates, context: ExperimentContext, *, feature: int
) -> None:
    """Claim every pair that was chosen and confirmed, largest first, with what adding up would have given."""
    words = scale_words(found.stated, context)
    order = np.argsort(-np.nan_to_num(np.abs(found.main.mean), nan=-1.0), kind="stable")
    for at in (at for at in order.tolist() if found.signs[at]):
        told, effects = found.told[at], alone_row(corners, found, at)
        hidden = "; the floor hides it from the activation" if found.diagnoses[at] == "hidden" else ""
        findings.claim(
            f"{pair_label(corners.designs[at])} together change feature {feature} by {effects['together']:+.3g} "
            f"{words}, where each by itself adds up to {effects['alone_first'] + effects['alone_second']:+.3g} "
            f"({PAIR_VERDICTS[found.signs[at]]} on this scale: {found.main.mean[at]:+.3g}, "
            f"held out {told.mean if told else np.nan:+.3g}{hidden})"
        )
