"""A lower rung's token beside a higher one, with and without: one of the two is off the distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mechscope.core import UserError
from mechscope.corpora.domain import Context, Family
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, paired_cells
from mechscope.experiments.changing.constraints import FAMILIAR, GEAR, ONE_RUNG, Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings

__all__ = ["probe_lower_rungs"]


def probe_lower_rungs(
    context: ExperimentContext,
    findings: Findings,
    feature: int,
    family: Family,
    pairs: Sequence[tuple[int, int]],
    bases: Bases,
    constraints: Constraints,
    *,
    seed: int,
) -> None:
    """Write the table `off_distribution_probe`: activation with the lower rung's own token minus without it.

    Every base context is set to the higher rung. Cumulative coding has the lower token there and the probe takes it
    away; one token a rung has it not and the probe puts it beside. Nothing is claimed from it. Constraints that keep
    contexts legal or familiar forbid it, which is logged.
    """
    forbidding = [name for name in (FAMILIAR, GEAR, ONE_RUNG) if name in constraints.names]
    if forbidding or not all(family.tokens):
        if forbidding:
            findings.violate(forbidding[0], "the probe of lower rungs makes contexts off the distribution; not run")
        else:
            findings.warn(f"{family.name} has no tokens of its own: its lower rungs cannot be probed")
        return
    own = {rung: set(tokens) - _below(family, rung) for rung, tokens in zip(family.rungs, family.tokens, strict=True)}
    deltas = np.full((len(bases), len(pairs)), np.nan)
    for column, (lower, higher) in enumerate(pairs):
        found: list[tuple[int, Context, Context]] = []
        for row, base in enumerate(bases.contexts):
            try:
                there = context.domain.substitute(base, rungs={family.name: higher})
            except UserError:  # counted where the rungs themselves were measured
                continue
            without = tuple(token for token in there.tokens if token not in own[lower])
            beside = tuple(sorted({*there.tokens, *own[lower]}))
            found.append((row, replace(there, tokens=beside), replace(there, tokens=without)))
        if found:
            rows = [row for row, _, _ in found]
            values = context.activations([one for _, *both in found for one in both], feature).reshape(-1, 2)
            deltas[rows, column] = values[:, 0] - values[:, 1]
    cells = paired_cells(deltas, bases.clusters, seed=seed)
    rows_out = [{"lower": a, "higher": b, **cells.row(at)} for at, (a, b) in enumerate(pairs)]
    findings.n_comparisons += cells.n_tested
    findings.table(
        "off_distribution_probe",
        ("lower", "higher", *CELL_COLUMNS),
        rows_out,
        caption="OFF-DISTRIBUTION: at the higher rung, with the lower rung's own token minus without it. One of the "
        "two contexts is none that the model was trained on; nothing is claimed from this table.",
    )
    findings.warn("off_distribution_probe holds contexts that the coding does not have; it is no evidence for a claim")


def _below(family: Family, rung: int) -> set[int]:
    at = family.rungs.index(rung)
    return set(family.tokens[at - 1]) if at else set()
