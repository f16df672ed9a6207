"""Itemsets that stand in the rows where a feature is active: how often there, how often elsewhere, beyond their parts.

1. The rows are halved by cluster. On the selecting half all frequent sets of active rows are mined (packed bits).
2. Sets that rows with a generalisation (an item left out, the rung below) explain as well are dropped; of the others
   those with the largest leverage stay, one for each combination of families and other items.
3. The held-out half gives every number of the tables: support among active and inactive rows, lift, leverage, Fisher's
   p of the set and of what it adds to its parts, corrected together, and a null that keeps the margins.
Sets of two rungs of one family follow from the coding and are never formed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mechscope.core import UsageError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.groups.conditions import held_rows
from mechscope.experiments.itemsets.halves import ActivityHalves
from mechscope.experiments.itemsets.items import read_items
from mechscope.experiments.itemsets.mining import ItemsetMining, ItemsetVariables
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import OBSERVED
from mechscope.reports import Estimate, Figure
from mechscope.reports.figures import NamedValue, named_bars

__all__ = ["FrequentItemsets", "ItemsetVariables"]

CLAIMS_SHOWN = 10


@EXPERIMENTS.register("frequent_itemsets")
class FrequentItemsets(ExperimentKind):
    """Itemsets of active rows."""

    name = "frequent_itemsets"
    aliases = ("itemsets",)
    title = "Sets of items that stand together where the feature is active"
    variables = ItemsetVariables
    modes = (OBSERVED,)
    alternatives = (
        "the items go with a weapon (or another group) that is what the feature follows",
        "the items go with further items of the same rows, and those are what the feature follows",
        "the items and the feature both follow the style of the build as a whole",
    )

    def run(
        self, spec: ExperimentSpec, variables: ItemsetVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Mine one half, confirm on the other."""
        found, held = held_rows(spec, context, findings, tokens=variables.stable_tokens)
        halves = ActivityHalves.of(found.rows, found.values, variables.high_percentile, context, spec, findings)
        leave_out = (*held.change.rungs, *held.change.binaries)
        everything = read_items(
            context, rungs=variables.rungs, tokens=variables.tokens, groups=variables.groups, leave_out=leave_out
        )
        items = everything.varying(np.concatenate([*halves.selecting, *halves.held_out]))
        if not items.items:
            raise UsageError(
                "no item that some rows have and others lack",
                expected="a subject with families, binaries or tokens",
                todo="name groups, or widen the slice",
            )
        findings.n_contexts_tested = sum(map(len, (*halves.selecting, *halves.held_out)))
        findings.drop("item that all rows or none have", len(everything.items) - len(items.items))
        mining = ItemsetMining(variables, items, halves, findings)
        rows = mining.confirm(seed=derive_seed(spec.seed, "itemsets"))
        _conclude(rows, spec, findings)

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The share of active rows less that of inactive ones, for each set held against the held-out half."""
        tables = [result.tables[name] for name in ("itemsets", "single_items") if name in result.tables]
        values = [
            NamedValue(name=str(row["items"]), estimate=_estimate(row))
            for table in tables
            for row in table.rows
            if row.get("contrast") is not None
        ]
        said = f"Feature {result.feature_id}, held-out rows: share of active rows with the items less that of inactive "
        figure = named_bars(
            values,
            title="Items where the feature is active",
            caption=said + "rows; 95 % intervals. Observational.",
            value_title="active less inactive",
            reference=0.0,
        )
        return {"itemsets": figure}


def _conclude(rows: list[dict[str, Any]], spec: ExperimentSpec, findings: Findings) -> None:
    confirmed = [row for row in rows if row["confirmed"]]
    best = max(confirmed, key=lambda row: float(row["leverage"]), default=None)
    findings.aggregate(n_samples=findings.n_contexts_tested)
    findings.add(
        n_held_against=len(rows),
        n_confirmed=len(confirmed),
        top_itemset=None if best is None else best["items"],
        top_contrast=None if best is None else best["contrast"],
        top_lift=None if best is None else best["lift"],
        top_leverage=None if best is None else best["leverage"],
    )
    for row in confirmed[:CLAIMS_SHOWN]:
        beyond = ", more than each part of it does" if row["size"] > 1 else ""
        findings.claim(
            f"{row['items']}: in {100 * row['active_support']:.3g} % of the active rows of feature {spec.feature_id} "
            f"and in {100 * row['inactive_support']:.3g} % of the inactive ones{beyond} (associated, held-out rows)"
        )
    if len(confirmed) > CLAIMS_SHOWN:
        findings.find(f"{len(confirmed) - CLAIMS_SHOWN} further sets or items are confirmed: see the tables")
    if not rows:
        findings.warn("no frequent set is commoner among active rows than its parts are")


def _estimate(row: Mapping[str, Any]) -> Estimate:
    return Estimate(value=float(row["contrast"]), low=row["contrast_low"], high=row["contrast_high"], n=int(row["n"]))
