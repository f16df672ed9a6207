"""Tables and findings that experiments on interactions share: every scale, the floor, and what rows show beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mechscope.experiments.cells import FEW
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.factorial import Corners, Design, Scale, scale_words
from mechscope.experiments.findings import Findings
from mechscope.experiments.interaction_estimates import SCALES, Estimates, covers_zero
from mechscope.experiments.selecting import ALPHA

__all__ = [
    "ALONE_COLUMNS",
    "HELD_COLUMNS",
    "Namer",
    "aggregate_differences",
    "alone_row",
    "corner_names",
    "design_rows",
    "floor_table",
    "say_scales",
    "scales_table",
]

ALONE_COLUMNS = ("alone_first", "alone_second", "together")
HELD_COLUMNS = ("held_out_delta", "held_out_n", "held_out_p", "verdict")
SHORT = ("none", "first", "second", "both")

Namer = Callable[[Design], dict[str, str]]
"""The columns that name a design in a table."""


def corner_names(order: int) -> list[str]:
    """Names of the corners: none, first, second, both; with a third factor without and with it."""
    if order <= 2:
        return list(SHORT[: 1 << order])
    return [f"{name}_{when}" for when in ("without", "with") for name in SHORT]


def scales_table(
    findings: Findings, corners: Corners, found: Estimates, names: Namer, context: ExperimentContext
) -> None:
    """Write the table `scales`: the difference of every design on every scale."""
    shown = (*SCALES, "above_floor")
    ends = [f"{name}{end}" for name in shown for end in ("", "_low", "_high")]
    columns = (*names(corners.designs[0]), "n", *ends, "n_above_floor", "diagnosis")
    rows = [
        {**names(design), **found.scale_row(at), "diagnosis": found.diagnoses[at]}
        for at, design in enumerate(corners.designs)
    ]
    findings.table(
        "scales",
        columns,
        rows,
        caption=f"The same difference {'; '.join(scale_words(scale, context) for scale in SCALES)} (base contexts with "
        "all corners above zero alone); above_floor: of the activation in those. 95 %, cluster bootstrap.",
    )


def floor_table(findings: Findings, corners: Corners, found: Estimates, names: Namer) -> None:
    """Write the table `corners`: mean activation and share at zero of every corner."""
    order = corners.order
    words = corner_names(order)
    columns = (*names(corners.designs[0]), "n", "n_refused", *(f"mean_{word}" for word in words),
               *(f"zero_{word}" for word in words), "touched", "diagnosis")  # fmt: skip
    rows = []
    for at, design in enumerate(corners.designs):
        n = int((~np.isnan(corners.activation[:, at, 0])).sum())
        row: dict[str, Any] = {**names(design), "n": n, "n_refused": corners.n_refused[at]}
        if n >= FEW:
            means = np.nanmean(corners.activation[:, at], axis=0)
            row |= {f"mean_{word}": mean for word, mean in zip(words, means, strict=True)}
            row |= {f"zero_{word}": share for word, share in zip(words, found.zero_shares[at], strict=True)}
            row["touched"] = found.touched[at]
        rows.append(row | {"diagnosis": found.diagnoses[at]})
    findings.table(
        "corners",
        columns,
        rows,
        caption="Mean activation, and share of base contexts at zero, in each corner; touched: share with any corner "
        "at zero; n_refused: base contexts where some corner is illegal. Diagnosis: free, touched, made or hidden by "
        "the floor, or at floor (zero in every corner in at least half).",
    )
    measured = ~np.isnan(found.touched)
    findings.add(touched_share=float(found.touched[measured].mean()) if measured.any() else None)


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
