"""What contrasts along a ladder come to: pairs that interfere, the shape of the curve, and what may be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.experiments.changing.cells import CELL_COLUMNS
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.findings import Findings
from mechscope.experiments.rungs.ladder import Ladder
from mechscope.experiments.rungs.paired import FALLS, FLOOR_COLUMNS, NO_VERDICT, VERDICT_COLUMNS
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL

__all__ = ["STEP_COLUMNS", "ContrastRows", "conclude"]

STEP_COLUMNS = ("step_to_lower", "step_beyond")
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
        (*columns, *STEP_COLUMNS, *FLOOR_COLUMNS),
        bends,
        caption=f"Mean change a {ladder.scale} beyond the lower rung (step_beyond) less that up to it (step_to_lower), "
        f"0 where rungs add up; {how.format(len(bends))} before_floor: of what the feature is before ReLU or TopK "
        "selects, p corrected over those with a verdict.",
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
        _claim_bend(spec, family, max(bent, key=_size), findings, found)


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
    blank = dict.fromkeys((*STEP_COLUMNS, *FLOOR_COLUMNS))
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
    lower, higher, size = row["lower"], row["higher"], abs(row["held_out_delta"])
    base = found.ladder.reference
    own = next(other for other in pairs if (other["lower"], other["higher"]) == (base, lower))["held_out_delta"]
    if spec.mode == CAUSAL:
        verb = "lowers" if row["verdict"] == FALLS else "raises"
        findings.claim(
            f"setting {family} from {lower} to {higher} {verb} feature {spec.feature_id} by {size:.3g} "
            f"({_held_out(row)}), against what {lower} does by itself ({own:+.3g}): the rungs interfere"
        )
        return
    findings.claim(
        f"rows at {family} {higher} have a {'lower' if row['verdict'] == FALLS else 'higher'} activation of feature "
        f"{spec.feature_id} than rows at {lower} ({_held_out(row)}, adjusted for {found.adjusted_for}), "
        f"against the difference that {lower} itself goes with ({own:+.3g}; associated)"
    )


def _claim_bend(spec: ExperimentSpec, family: str, row: Row, findings: Findings, found: ContrastRows) -> None:
    lower, higher, scale = row["lower"], row["higher"], found.ladder.scale
    where = f"{family} from {lower} to {higher}"
    if spec.mode == CAUSAL:
        free, p = row["before_floor"], row["before_floor_p"]
        if free is None or np.sign(free) != np.sign(row["mean_delta"]) or not p < ALPHA:
            findings.warn(
                f"{where}: the bend ({row['mean_delta']:+.3g} a {scale}) is not seen before the floor "
                f"({'not measured' if free is None else f'{free:+.3g}'}): the ReLU may have made it"
            )
            return
        findings.claim(
            f"{where} {_of_steps(row, scale, f'feature {spec.feature_id}')} (bend, held-out half: {_held_out(row)}): "
            "its rungs do not add up"
        )
        return
    findings.claim(
        f"rows along {where} differ by {row['step_beyond']:+.3g} a {scale} in the activation of feature "
        f"{spec.feature_id}, and those up to {lower} by {row['step_to_lower']:+.3g} (difference, held-out half: "
        f"{_held_out(row)}, adjusted for {found.adjusted_for}; associated)"
    )


def _of_steps(row: Row, scale: str, feature: str) -> str:
    """What the steps beyond the lower rung do beside those up to it, each by its own direction."""
    beyond, before = row["step_beyond"], row["step_to_lower"]
    if beyond * before > 0:
        verb, word = "raises" if beyond > 0 else "lowers", "more" if abs(beyond) > abs(before) else "less"
        return (
            f"{verb} {feature} by {abs(beyond):.3g} a {scale}, {word} than the {abs(before):.3g} up to {row['lower']}"
        )
    return (
        f"changes {feature} by {beyond:+.3g} a {scale}, where the rungs up to {row['lower']} change it by {before:+.3g}"
    )


def _held_out(row: Row) -> str:
    return (
        f"{row['held_out_delta']:+.3g} [{row['held_out_low']:+.3g}, {row['held_out_high']:+.3g}], "
        f"n = {row['held_out_n']}, p = {row['held_out_p']:.2g}"
    )


def _size(row: Row) -> float:
    return abs(float(row["mean_delta"]))
