"""Whether a feature goes with the tokens (and groups) of its rows more than its own activations do when shuffled.

Activations are dealt anew over the rows: their distribution stays, what they go with is lost. Rows of one document
exchange theirs as a block, and with `strata` only rows of the same weapon (or other group) exchange, so that what is
left above the null is not that group's. Four numbers are measured on the feature and on every shuffle (see
`item_associations`); p = (1 + hits) / (1 + B); the p of the whole is that of the smallest p among the four, which is
held against the smallest p of every shuffle (Westfall and Young 1993).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from mechscope.core import Spec, UsageError, derive_seed, numpy_generator
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.curves import curves_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.held_out import held_out
from mechscope.experiments.observing.item_associations import N_BY_ITEM, STATISTICS, Associations, ItemAssociations
from mechscope.experiments.observing.row_items import RowItems
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.tables import ResultTable
from mechscope.experiments.types import OBSERVED
from mechscope.reports import Figure
from mechscope.stats import Shuffles
from mechscope.stats.dealt_sums import DealtSums
from mechscope.stats.samples import as_clusters

__all__ = ["ShuffleNull", "ShuffleNullVariables"]

NULL_COLUMNS = ("statistic", "value", "null_mean", "null_low", "null_high", "null_max", "n", "p", "p_corrected")
HELD_COLUMNS = ("statistic", "item", "selecting_value", "value", "low", "high", "n_with", "n", "excludes_chance")


class ShuffleNullVariables(Spec):
    """The variables.

    Attributes:
        n_shuffles: B; p is at least 1 / (1 + B).
        min_rows: least rows with a token or group, and without it.
        strata: group columns or attributes within whose names activations are shuffled; all rows as one without any.
        groups: group columns whose names are items beside the tokens; by default the group that attributes describe,
            unless it is a stratum.
    """

    n_shuffles: int = Field(default=199, ge=39)
    min_rows: int = Field(default=20, ge=5)
    strata: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None


@EXPERIMENTS.register("shuffle_null")
class ShuffleNull(ExperimentKind):
    """Associations with tokens and groups against those of shuffled activations."""

    name = "shuffle_null"
    title = "Association with tokens against shuffled activations"
    variables = ShuffleNullVariables
    modes = (OBSERVED,)
    alternatives = (
        "the tokens go with something else (a weapon, a style) that is what the feature follows",
        "rows that depend on each other in a way that the clusters do not tell move the null",
    )

    def run(
        self, spec: ExperimentSpec, variables: ShuffleNullVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure the feature, then its shuffles."""
        found = slice_rows(spec, context, findings)
        if np.ptp(found.values) == 0:
            raise UsageError(
                f"feature {spec.feature_id} has one activation in all {len(found):,} rows",
                expected="activations that differ",
                todo="widen the slice",
            )
        base = context.domain.attribute_group
        has_base = base is not None and base in context.corpus.names_with_role("group", "row")
        default = (base,) if base is not None and has_base and base not in variables.strata else ()
        groups = default if variables.groups is None else variables.groups
        items = RowItems.of(context, found.rows, min_rows=variables.min_rows, groups=groups)
        findings.drop(f"tokens or groups in fewer than {variables.min_rows} rows, or in all but fewer",
                      items.n_left_out)  # fmt: skip
        seed, n = derive_seed(spec.seed, "shuffle null"), len(found)
        units = as_clusters(context.clusters_of(found.rows), n, n_fewest=4)
        n_units = int(units.max()) + 1
        second = (numpy_generator(seed, "halves").permutation(n_units) % 2 == 1)[units]
        measured = ItemAssociations(items, second, found.values, alpha=ALPHA)
        strata = [context.group_values(column)[found.rows] for column in variables.strata]
        shuffles = Shuffles(
            found.values,
            units=None if n_units == n else units,
            strata=np.unique(np.stack(strata), axis=1, return_inverse=True)[1].reshape(n) if strata else None,
        )
        findings.drop("rows that no shuffle moves", shuffles.n_fixed)
        if shuffles.n_fixed > n / 2:
            findings.warn(
                f"{shuffles.n_fixed:,} of {n:,} rows keep their activation in every shuffle: little is tested"
            )
        seen = measured.measure(measured.sums[..., None])
        dealt = DealtSums(measured.table, shuffles, measured.columns, n_by_item=N_BY_ITEM)
        draws = dealt.blocks(variables.n_shuffles, seed=derive_seed(seed, "shuffles"))
        null = np.concatenate([measured.measure(sums).statistics for sums in draws], axis=1)
        p, p_corrected, p_any = _tests(seen.statistics[:, 0], null)
        said = f"{variables.n_shuffles} shuffles over {'rows' if n_units == n else f'{n_units:,} documents'}"
        self._write(measured, f"{said}{dealt.in_words}", findings, (seen, null, p, p_corrected))
        held, drawn = held_out(measured, units, seed=seed)
        findings.table(
            "held_out", HELD_COLUMNS, held,
            caption="OBSERVATIONAL: the best item of one half of the rows, measured on the other half: AUROC (DeLong), "
            f"mean difference ({drawn}); R2 of each half by ridge on the other. 95 % intervals, over clusters.",
        )  # fmt: skip
        passes = p_any < ALPHA and any(row["excludes_chance"] for row in held)
        findings.n_contexts_tested, findings.n_comparisons = n, len(STATISTICS)
        findings.aggregate(n_samples=n)
        findings.add(
            passes=passes, p=p_any, n_items=len(items), n_shuffles=variables.n_shuffles, strata=variables.strata,
            groups=groups, **{name: float(seen.statistics[at, 0]) for at, name in enumerate(STATISTICS)},
            **{f"{name}_p": float(p[at]) for at, name in enumerate(STATISTICS)},
        )  # fmt: skip
        findings.note(
            f"passes: p of the four together below {ALPHA}, and an association chosen on one half of the rows that the "
            "other half confirms"
        )
        if passes:
            within = f" within {' and '.join(variables.strata)}" if variables.strata else ""
            best, told = held[0], ""
            if best["excludes_chance"]:
                told = f"; most with {best['item']}, whose AUROC on the held-out half is {best['value']:.3f} "
                told += f"[{best['low']:.3f}, {best['high']:.3f}]"
            findings.claim(
                f"feature {spec.feature_id} goes with the tokens of its rows more than its activations shuffled"
                f"{within} do (p = {p_any:.3g} over {len(STATISTICS)} statistics){told} (associated)"
            )

    def _write(
        self,
        measured: ItemAssociations,
        shuffled: str,
        findings: Findings,
        numbers: tuple[Associations, np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        (seen, null, p, p_corrected), items = numbers, measured.items
        low, high = np.quantile(null, [0.025, 0.975], axis=1)
        rows = [
            {"statistic": name, "value": seen.statistics[at, 0], "null_mean": null[at].mean(), "null_low": low[at],
             "null_high": high[at], "null_max": null[at].max(), "n": len(measured.values), "p": p[at],
             "p_corrected": p_corrected[at]}
            for at, name in enumerate(STATISTICS)
        ]  # fmt: skip
        findings.table(
            "shuffle_null", NULL_COLUMNS, rows,
            caption=f"OBSERVATIONAL: over {len(items)} tokens and groups; null: {shuffled}, "
            "mean and middle 95 %; p: share of shuffles that reach it; p_corrected: of the four together.",
        )  # fmt: skip
        order = np.argsort(-np.abs(seen.z[:, 0]), kind="stable")[:20].tolist()
        findings.table(
            "strongest_items", ("item", "kind", "z", "auroc", "n_with"),
            [{"item": items.names[at], "kind": "token" if items.is_token[at] else "group", "z": seen.z[at, 0],
              "auroc": seen.areas[at, 0], "n_with": int(items.n_with[at])} for at in order],
            caption="OBSERVATIONAL: the items with the largest |z|; picked from these rows, so see `held_out`.",
        )  # fmt: skip

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """Each statistic with the middle 95 % of its null, in widths of that."""
        curves = []
        if "shuffle_null" in result.tables:
            scaled = _in_widths(result.tables["shuffle_null"])
            curves = [("shuffled", scaled, "null", "low", "high"), ("as it is", scaled, "value", "value", "value")]
        said = f"Feature {result.feature_id}. 0: mean of the shuffled; unit: half of their middle 95 %, the bars."
        figure = curves_figure(
            curves, x="statistic", title="Against shuffled activations", caption=said, value_title="from the null"
        )
        return {"shuffle_null": figure}


def _in_widths(table: ResultTable) -> ResultTable:
    """Values and nulls less the null's mean, in half widths of its middle 95 %; without the rows that have no width."""
    rows = []
    for row in table.rows:
        value, mean, low, high = (float(row[name]) for name in ("value", "null_mean", "null_low", "null_high"))  # type: ignore[arg-type]
        if high > low:
            ends = {key: 2 * (x - mean) / (high - low) for key, x in (("value", value), ("low", low), ("high", high))}
            rows.append({"statistic": row["statistic"], **ends, "null": 0.0})
    return ResultTable(name=table.name, columns=("statistic", "value", "low", "high", "null"), rows=tuple(rows))


def _tests(seen: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """p of each statistic [s], corrected over them, and p of them together, from those of shuffles [s, B]."""
    everything = np.round(np.concatenate([seen[:, None], null], axis=1), 9)  # what differs by rounding is a tie
    # how many of all B + 1 reach each one, itself counted
    n_below = [np.searchsorted(np.sort(one), one, side="left") for one in everything]
    each = 1 - np.array(n_below) / everything.shape[1]
    lowest = each.min(axis=0)
    corrected = (lowest <= each[:, [0]] + 1e-12).mean(axis=1)
    return each[:, 0], corrected, float(corrected.min())
