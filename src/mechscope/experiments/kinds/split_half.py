"""Whether the mean activation with each token comes out again on another half of the rows.

The score of a token is the mean activation of the rows that hold it, zeros included. Reliability is the Spearman-Brown
value of the correlation over tokens between two random halves of the rows, averaged over many splits, with a jackknife
interval over the rows (see `stats.reliability`). The control are the same activations shuffled over the rows, with the
same halves: their reliability tells what tokens that share rows agree on by chance, and is no round number.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from mechscope.core import Spec, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.curves import curves_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.row_items import RowItems
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import OBSERVED
from mechscope.reports import Figure
from mechscope.stats import Shuffles, deal_blocks, half_correlation, reliability_of_blocks, spearman_brown
from mechscope.stats.dealt_sums import DealtSums
from mechscope.stats.reliability import N_BLOCKS_FEWEST, draw_splits
from mechscope.stats.samples import as_clusters

__all__ = ["SplitHalf", "SplitHalfVariables"]

COLUMNS = ("activations", "reliability", "low", "high", "half_r", "n", "n_clusters", "n_tokens", "p", "passes")


class SplitHalfVariables(Spec):
    """The variables.

    Attributes:
        n_splits: random halves. min_rows: least rows with a token, and without it.
        n_shuffles: shuffles of the control; p is at least 1 / (1 + n_shuffles).
        strata: a group column or attribute within which the control shuffles; None for none.
        least: reliability that a feature must reach besides beating its control; 0.7 is a convention, no test.
    """

    n_splits: int = Field(default=100, ge=10)
    min_rows: int = Field(default=20, ge=5)
    n_shuffles: int = Field(default=199, ge=39)
    strata: str | None = None
    least: float = Field(default=0.7, ge=0, le=1)


@EXPERIMENTS.register("split_half")
class SplitHalf(ExperimentKind):
    """Split-half reliability over tokens, beside that of shuffled activations."""

    name = "split_half"
    title = "Reliability of token means over random halves"
    variables = SplitHalfVariables
    modes = (OBSERVED,)
    alternatives = ("a reliable difference between tokens may come from what goes along with them",)

    def run(
        self, spec: ExperimentSpec, variables: SplitHalfVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Correlate halves, and halves of the same activations shuffled over rows."""
        found = slice_rows(spec, context, findings)
        items = RowItems.of(context, found.rows, min_rows=variables.min_rows)
        findings.drop(f"tokens in fewer than {variables.min_rows} rows, or in all but fewer", items.n_left_out)
        seed, n = derive_seed(spec.seed, "split half"), len(found)
        units = as_clusters(context.clusters_of(found.rows), n, n_fewest=N_BLOCKS_FEWEST)
        n_units = int(units.max()) + 1
        table = items.by_block(deal_blocks(n_units, seed=seed)[units])
        counts = table.counts[:, :-1]
        got = reliability_of_blocks(
            table.sums(found.values)[:, :-1], counts, seed=seed, n_splits=variables.n_splits, n=n,
            n_clusters=n_units, over="rows" if n_units == n else "documents",
        )  # fmt: skip
        strata = None if variables.strata is None else context.group_values(variables.strata)[found.rows]
        shuffles = Shuffles(found.values, units=None if n_units == n else units, strata=strata)
        findings.drop("rows that no shuffle moves", shuffles.n_fixed)
        splits = draw_splits(table.n_blocks, variables.n_splits, seed=seed)
        dealt = DealtSums(table, shuffles, found.values[:, None])
        control = np.array(
            [
                half_correlation(sums, counts, splits)
                for block in dealt.blocks(variables.n_shuffles, seed=derive_seed(seed, "shuffle"))
                for sums in block[:, :-1, 0].transpose(2, 0, 1)
            ]
        )
        p = (1 + int((control >= got.half - 1e-9).sum())) / (1 + len(control))
        low, middle, high = np.quantile(spearman_brown(control), [0.025, 0.5, 0.975])
        beats = bool(p < ALPHA and got.low > high)
        passes = beats and got.value >= variables.least
        numbers = {"n": n, "n_clusters": n_units, "n_tokens": got.n_items}
        rows = [
            {"activations": "as they are", "reliability": got.value, "low": got.low, "high": got.high,
             "half_r": got.half, **numbers, "p": p, "passes": passes},
            {"activations": "shuffled", "reliability": middle, "low": low, "high": high,
             "half_r": float(np.median(control)), **numbers, "p": None, "passes": None},
        ]  # fmt: skip
        within = "" if variables.strata is None else f" within {variables.strata}"
        findings.table(
            "reliability", COLUMNS, rows,
            caption=f"OBSERVATIONAL: {got.method}, 95 % interval. shuffled: median and middle 95 % of "
            f"{len(control)} shuffles{within}{dealt.in_words}; p: share of shuffles that are as "
            "reliable, the observed one counted.",
        )  # fmt: skip
        findings.aggregate(n_samples=n)
        findings.n_contexts_tested, findings.n_comparisons = n, 1
        findings.add(
            reliability=got.value, reliability_low=got.low, reliability_high=got.high, shuffled=middle,
            shuffled_high=high, p=p, beats_shuffled=beats, least=variables.least, passes=passes,
        )  # fmt: skip
        findings.note(
            f"passes: p below {ALPHA}, the interval above the middle 95 % of the shuffled, and a reliability of at "
            f"least {variables.least:g}, which is a convention"
        )
        if passes:
            findings.claim(
                f"which tokens feature {spec.feature_id} goes with comes out again on other rows: reliability "
                f"{got.value:.3f} [{got.low:.3f}, {got.high:.3f}], shuffled {middle:.3f} up to {high:.3f} (associated)"
            )

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The reliability beside that of shuffled activations."""
        curves = [
            (str(row["activations"]), table.updated(rows=(row,)), "reliability", "low", "high")
            for table in (result.tables[name] for name in result.tables if name == "reliability")
            for row in table.rows
        ]
        said = f"Feature {result.feature_id}: 95 % interval over rows; of the shuffled, the middle 95 %."
        figure = curves_figure(
            curves, x="activations", title="Split-half reliability", caption=said, value_title="reliability"
        )
        return {"reliability": figure}
