"""Tables and findings that experiments on interactions share: every scale, the floor, and what rows show beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.estimates import SCALES, Estimates, covers_zero
from mechscope.experiments.interactions.factorial import Corners, Design, Scale, scale_words

__all__ = [
    "ALONE_COLUMNS",
    "HELD_COLUMNS",
    "SIDES",
    "Namer",
    "alone_row",
    "corner_columns",
    "corner_rows",
    "design_rows",
    "shared_tables",
]

ALONE_COLUMNS = ("alone_first", "alone_second", "together")
HELD_COLUMNS = ("held_out_delta", "held_out_p", "verdict")
CORNERS = ("none", "first", "second", "both")
SIDES = ("without", "with")

Namer = Callable[[Design], dict[str, str]]
"""The columns that name a design in a table."""


def corner_columns(order: int, numbers: Sequence[str]) -> tuple[str, ...]:
    """Columns of `corner_rows`."""
    sides = ("modulated",) if order > 2 else ()
    return (*sides, *(f"{name}_{corner}" for name in numbers for corner in CORNERS))


def corner_rows(numbers: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Numbers of the corners of one design as a row; of a pair and a modulator as two rows, without it and with it."""
    n_corners = len(next(iter(numbers.values())))
    rows = []
    for start, side in zip(range(0, n_corners, 4), SIDES, strict=False):
        row: dict[str, Any] = {"modulated": side} if n_corners > 4 else {}
        for name, values in numbers.items():
            part = values[start : start + 4]
            row |= {f"{name}_{corner}": value for corner, value in zip(CORNERS, part, strict=True)}
        rows.append(row)
    return rows


def shared_tables(
    findings: Findings,
    corners: Corners,
    found: Estimates,
    context: ExperimentContext,
    *,
    names: Namer,
    label: Callable[[Design], str],
) -> None:
    """Write what pairs and modulators share: scales, corners, aggregates, and findings on scales that disagree."""
    scales_table(findings, corners, found, names, context)
    corners_table(findings, corners, found, names)
    findings.n_comparisons = found.main.n_tested
    aggregate_differences(findings, corners, found.stated)
    say_scales(findings, corners, found, label)


def scales_table(
    findings: Findings, corners: Corners, found: Estimates, names: Namer, context: ExperimentContext
) -> None:
    """Write the table `scales`: the difference of every design on every scale, and what the floor has to do with it."""
    shown = (*SCALES, "above_floor")
    ends = [f"{name}{end}" for name in shown for end in ("", "_low", "_high")]
    columns = (*names(corners.designs[0]), "diagnosis", "n", *ends, "n_above_floor", "touched", "n_refused")
    rows = [
        {**names(design), "n_refused": corners.n_refused[at], **found.scale_row(at), "touched": found.touched[at],
         "diagnosis": found.diagnoses[at]}
        for at, design in enumerate(corners.designs)
    ]  # fmt: skip
    findings.table(
        "scales",
        columns,
        rows,
        caption=f"The same difference {'; '.join(scale_words(scale, context) for scale in SCALES)} (base contexts with "
        "all corners above zero alone); above_floor: of the activation in those. 95 %, cluster bootstrap. n_refused: "
        "base contexts where some corner is illegal; touched: share with a corner at zero. Diagnosis: free, touched, "
        "made or hidden by the floor, or at floor (zero in every corner in at least half).",
    )
    measured = ~np.isnan(found.touched)
    findings.add(touched_share=float(found.touched[measured].mean()) if measured.any() else None)


def corners_table(findings: Findings, corners: Corners, found: Estimates, names: Namer) -> None:
    """Write the table `corners`: mean activation and share at zero of every corner."""
    columns = (*names(corners.designs[0]), "n", *corner_columns(corners.order, ("mean", "zero")))
    rows = []
    for at, design in enumerate(corners.designs):
        n = int((~np.isnan(corners.activation[:, at, 0])).sum())
        if n >= FEW:
            means = np.nanmean(corners.activation[:, at], axis=0).tolist()
            numbers = {"mean": means, "zero": found.zero_shares[at].tolist()}
            rows += [{**names(design), "n": n, **row} for row in corner_rows(numbers)]
    findings.table(
        "corners",
        columns,
        rows,
        caption="Mean activation in each corner, and share of base contexts at zero there, where a floor cuts off what "
        f"lies below; of designs with at least {FEW} base contexts.",
    )


def say_scales(findings: Findings, corners: Corners, found: Estimates, label: Callable[[Design], str]) -> None:
    """Findings on designs whose interaction depends on the scale, gathered by what the scales disagree on."""
    kinds: dict[str, list[str]] = {}

    def add(kind: str, at: int, first: float, second: float) -> None:
        kinds.setdefault(kind, []).append(f"{label(corners.designs[at])} ({first:+.3g}, {second:+.3g})")

    after, before, log = (found.cells[name].mean for name in ("activation", "pre_activation", "log"))
    for at in range(len(corners.designs)):
        if found.diagnoses[at] == "made":
            add("the floor makes the interaction of activations; before it none that counts, or the other sign "
                "(activation, before)",
                at, after[at], before[at])  # fmt: skip
        elif found.diagnoses[at] == "hidden":
            add(
                "the floor hides an interaction that is there before it (activation, before)", at, after[at], before[at]
            )
        above = found.above_floor
        if not (above.p_corrected[at] < ALPHA and abs(above.mean[at]) >= found.least["activation"]):
            continue
        logs = found.cells["log"]
        if covers_zero(logs.low[at], logs.high[at]) and abs(logs.mean[at]) < found.least["log"]:
            add("effects multiply rather than add, nothing is left in the logarithm (activation, log; all corners "
                "above zero)", at, above.mean[at], log[at])  # fmt: skip
        elif found.moves("log", at) and np.sign(log[at]) != np.sign(above.mean[at]):
            add("the sign depends on the scale (activation, log; all corners above zero)", at, above.mean[at], log[at])
    for kind, places in kinds.items():
        findings.find(f"{kind}: {'; '.join(places)}")


def alone_row(corners: Corners, found: Estimates, at: int) -> dict[str, float]:
    """Mean effect of the first, of the second, and of both, against neither, on the stated scale."""
    values = corners.on(found.stated)[:, at]
    effects = (values - values[:, [0]])[np.isfinite(values).all(axis=1), 1:4]
    means = effects.mean(axis=0) if len(effects) else np.full(3, np.nan)
    return dict(zip(ALONE_COLUMNS, means.tolist(), strict=True))


def design_rows(corners: Corners, found: Estimates, names: Namer, verdicts: Mapping[int, str]) -> list[dict[str, Any]]:
    """A row a design on the stated scale: its cell, what the held-out half says, and the verdict by sign."""
    return [
        {**names(design), **found.main.row(at), **found.held_row(at), "verdict": verdicts.get(found.signs[at], "")}
        for at, design in enumerate(corners.designs)
    ]


def aggregate_differences(findings: Findings, corners: Corners, scale: Scale) -> None:
    """Write mean and spread over all differences, and how many base contexts they come from."""
    differences = corners.differences(scale)
    known = differences[~np.isnan(differences)]
    n = int((~np.isnan(corners.activation[:, :, 0]).all(axis=1)).sum())
    findings.n_contexts_tested = n
    findings.aggregate(
        mean_delta=float(known.mean()) if len(known) else None,
        std_delta=float(known.std(ddof=1)) if len(known) > 1 else None,
        n_samples=n,
    )
