"""Whether one group stands out among those measured, and what the raised ones have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.groups.means import GroupMeans

__all__ = ["interpreted_row", "judge_groups"]

DOMINANCE = 2.0


def interpreted_row(means: GroupMeans, at: int) -> dict[str, Any]:
    """The row of a group; one of fewer than 5 independent units keeps its counts and means alone."""
    row = means.row(at)
    if row["n_clusters"] < FEW:
        row |= dict.fromkeys(("low", "high", "p", "p_corrected", "effect"))
    return row


def judge_groups(
    findings: Findings,
    context: ExperimentContext,
    column: str,
    names: tuple[str, ...],
    delta: np.ndarray,
    raised: list[bool],
) -> None:
    """The dominant group, and the kits of those that are raised. `names` in falling order of `delta`."""
    findings.add(
        top_weapon=names[0], top_delta=delta[0], n_raised=sum(raised), second_delta=delta[1] if len(names) > 1 else None
    )
    if len(names) > 1 and raised[0] and delta[0] > DOMINANCE * max(float(delta[1]), 0.0):
        against = f"{delta[0] / delta[1]:.1f} times that of" if delta[1] > 0 else "and no delta above 0 has"
        findings.warn(f"DOMINANT {column.upper()}: {names[0]} has a delta of {delta[0]:+.3g}, {against} {names[1]}")
        findings.add(dominant_weapon_detected=True, dominant_weapon=names[0])
        if context.domain.attributes and column == context.domain.attribute_group:
            findings.add(recommended_followup="kit_sweep")
    attributes = context.domain.attributes
    top = [name for name, is_raised in zip(names, raised, strict=True) if is_raised][:10]
    if column != context.domain.attribute_group or not attributes or not top:
        return
    holders = {
        kind: {value: [name for name in top if of.get(name) == value] for value in sorted({of.get(n, "") for n in top})}
        for kind, of in attributes.items()
    }
    shared = {kind: {v: have for v, have in by.items() if v and len(have) > 1} for kind, by in holders.items()}
    rows = []
    for name in top:
        kit = {kind: of.get(name, "") for kind, of in attributes.items()}
        common = [f"{kind} {value}" for kind, value in kit.items() if value in shared[kind]]
        rows.append({column: name, **kit, "shared": ", ".join(common)})
    findings.table("kits", (column, *attributes, "shared"), rows, caption=f"Kits of the raised {column}s.")
    findings.add(shared_kit=[f"{kind} {value}" for kind, by in shared.items() for value in by])
