"""What contrasts along a ladder come to: pairs that interfere, the shape of the curve, and what may be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.experiments.changing.cells import CELL_COLUMNS
from mechscope.experiments.findings import Findings
from mechscope.experiments.rungs.ladder import Ladder
from mechscope.experiments.rungs.paired import FALLS, NO_VERDICT, RISES, VERDICT_COLUMNS
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL

__all__ = ["ContrastRows", "conclude"]

FLOOR_COLUMNS = ("above_floor", "n_above_floor")
Row = dict[str, Any]


@dataclass(frozen=True)
class ContrastRows:
    """Rows of a ladder's increments and bends, in the ladder's order. `adjusted_for`: of observed ones, in words."""

    ladder: Ladder
    increments: list[Row]
    bends: list[Row]
    adjusted_for: str = ""


def conclude(
    spec: ExperimentSpec, family: str, found: ContrastRows, findings: Findings, *, is_withheld: bool = False
) -> None:
    """Write the tables `pairs`, `steps` and `bends`, the shape, and the claims that hold.

    A pair interferes when the higher rung moves the feature against what the lower one does by itself, both chosen on
    one half and confirmed on the other. Only the strongest interference and the strongest bend are claimed; a bend
    that is not seen above the floor is not.
    """
    ladder = found.ladder
    pairs, bends = _pair_rows(found), _bend_rows(found)
    how = f"adjusted for {found.adjusted_for}" if found.adjusted_for else "paired, p by sign-flip"
    how = f"{how}, corrected over the {{}} cells; a verdict was chosen on one half and confirmed on the other."
    columns = ("lower", "higher", *CELL_COLUMNS, *VERDICT_COLUMNS)
    said = f"What the higher rung adds to the lower one (0: absent); {how.format(len(pairs))}"
    findings.table("pairs", (*columns, "interferes"), pairs, caption=said)
    steps = [row for row in pairs if (row["lower"], row["higher"]) in ladder.steps]
    findings.table("steps", (*columns, "interferes"), steps, caption="What each rung adds to the one below it.")
    findings.table(
        "bends",
        (*columns, *FLOOR_COLUMNS),
        bends,
        caption=f"Mean change a {ladder.scale} beyond the lower rung less that up to it, 0 where rungs add up; "
        f"{how.format(len(bends))} above_floor: where the feature is above zero at every rung involved.",
    )
    untested = [[row["lower"], row["higher"]] for row in pairs if not row["n"]]
    for lower, higher in untested:
        findings.warn(f"the pair {lower} and {higher} of {family} was not measured: no context has both")
    against = [row for row in pairs if row["interferes"]]
    bent = [row for row in bends if row["verdict"]]
    findings.add(
        ladder=list(ladder.levels),
        interfering_pairs=[[row["lower"], row["higher"]] for row in against],
        untested_pairs=untested,
        shape=_shape(pairs, bent, against, ladder),
        strongest_bend=max((row["mean_delta"] for row in bent), key=abs, default=None),
    )
    if is_withheld:
        return
    if against:
        _claim_interference(spec, family, max(against, key=_size), pairs, findings, found)
    if bent:
        _claim_bend(spec, family, max(bent, key=_size), pairs, findings, found)


def _pair_rows(found: ContrastRows) -> list[Row]:
    ladder = found.ladder
    by_pair = dict(zip(ladder.increments, found.increments, strict=True))
    rows = []
    for (lower, higher), cell in by_pair.items():
        own = NO_VERDICT if lower == ladder.reference else by_pair[ladder.reference, lower]["verdict"]
        is_against = bool(cell["verdict"] and own and cell["verdict"] != own)
        rows.append({"lower": lower, "higher": higher, **cell, "interferes": is_against})
    return rows


def _bend_rows(found: ContrastRows) -> list[Row]:
    blank = dict.fromkeys(FLOOR_COLUMNS)
    pairs = zip(found.ladder.pairs, found.bends, strict=True)
    return [{"lower": lower, "higher": higher, **blank, **cell} for (lower, higher), cell in pairs]


def _shape(pairs: Sequence[Row], bent: Sequence[Row], against: Sequence[Row], ladder: Ladder) -> str:
    """One word for the curve; "additive" means that no bend was shown, "flat" that nothing moves."""
    if against:
        return "non-monotone"
    moves = [row for row in pairs if row["verdict"]]
    if not moves:
        return "flat"
    if not bent:
        return "additive"
    strongest = max(bent, key=_size)
    whole = max((row for row in moves if row["lower"] == ladder.reference), key=_size, default=None)
    if whole is None:
        return "bent"
    return "accelerating" if strongest["verdict"] == whole["verdict"] else "saturating"


def _claim_interference(
    spec: ExperimentSpec, family: str, row: Row, pairs: Sequence[Row], findings: Findings, found: ContrastRows
) -> None:
    lower, higher, size = row["lower"], row["higher"], abs(row["mean_delta"])
    base = found.ladder.reference
    own = next(other["mean_delta"] for other in pairs if (other["lower"], other["higher"]) == (base, lower))
    if spec.mode == CAUSAL:
        verb = "lowers" if row["verdict"] == FALLS else "raises"
        findings.claim(
            f"setting {family} from {lower} to {higher} {verb} feature {spec.feature_id} by {size:.3g}, against what "
            f"{lower} does by itself ({own:+.3g}): the rungs interfere"
        )
        return
    findings.claim(
        f"rows at {family} {higher} have a {'lower' if row['verdict'] == FALLS else 'higher'} activation of feature "
        f"{spec.feature_id} than rows at {lower} ({row['mean_delta']:+.3g}, adjusted for {found.adjusted_for}), "
        f"against the difference that {lower} itself goes with ({own:+.3g}; associated)"
    )


def _claim_bend(
    spec: ExperimentSpec, family: str, row: Row, pairs: Sequence[Row], findings: Findings, found: ContrastRows
) -> None:
    lower, higher, bend = row["lower"], row["higher"], row["mean_delta"]
    where = f"{family} from {lower} to {higher}"
    if spec.mode == CAUSAL:
        free = row["above_floor"]
        if free is None or np.sign(free) != np.sign(bend):
            findings.warn(
                f"{where}: the bend ({bend:+.3g} a {found.ladder.scale}) is not seen where the feature is above zero "
                f"at every rung ({row['n_above_floor']} contexts): the ReLU may have made it"
            )
            return
        word = "less" if row["verdict"] != _direction(pairs, found.ladder, lower) else "more"
        findings.claim(
            f"{where} adds {word} a {found.ladder.scale} to feature {spec.feature_id} than the rungs up to {lower} do "
            f"({bend:+.3g}): its rungs do not add up"
        )
        return
    findings.claim(
        f"{where}: the activation of feature {spec.feature_id} changes otherwise a {found.ladder.scale} than up to "
        f"{lower} ({bend:+.3g}, adjusted for {found.adjusted_for}; associated)"
    )


def _direction(pairs: Sequence[Row], ladder: Ladder, lower: int) -> str:
    """The direction of the steps up to a rung."""
    own = next(row for row in pairs if (row["lower"], row["higher"]) == (ladder.reference, lower))
    return RISES if (own["mean_delta"] or 0) >= 0 else FALLS


def _size(row: Row) -> float:
    return abs(float(row["mean_delta"]))
