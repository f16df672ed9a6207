"""Activation by weapon, or by any other group: which groups go with the feature, and whether one stands out.

Observational, by default: rows are grouped, zeros included, and each mean held against that of all rows; beside it the
estimate at equal abilities. Interventional: the same base contexts with each weapon substituted in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import AliasChoices, Field

from mechscope.core import Spec, UsageError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW, paired_cells
from mechscope.experiments.changing.selecting import ALPHA, confirm, with_halves
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.bars import group_bars
from mechscope.experiments.findings import Findings
from mechscope.experiments.groups.adjusted import adjusted_groups
from mechscope.experiments.groups.conditions import (
    GROUP_ALTERNATIVES,
    group_column,
    groups_to_hold,
    held_rows,
    held_words,
    large_groups,
    substituted_deltas,
)
from mechscope.experiments.groups.means import GROUP_COLUMNS, GroupMeans, group_means
from mechscope.experiments.groups.verdicts import interpreted_row, judge_groups
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.confounders import confounders_of
from mechscope.experiments.observing.levels import second_half
from mechscope.experiments.observing.slicing import Slice
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure
from mechscope.stats import adjusted_group_effects

__all__ = ["WeaponSweep", "WeaponVariables"]

HELD_OUT_COLUMNS = ("selecting_delta", "selecting_p_corrected", "held_out_delta", "held_out_low", "held_out_high",
                    "held_out_n", "held_out_p", "holds")  # fmt: skip
ADJUSTED_COLUMNS = ("adjusted", "adjusted_low", "adjusted_high")


class WeaponVariables(Spec):
    """The variables of a sweep over groups.

    Attributes:
        group: the column; by default the one that the domain describes (weapon).
        min_examples: groups of fewer rows are left out, and counted.
        top_k_weapons: groups shown, from the largest delta down; all are tested. `top_k` for short.
        stable_tokens: binaries, rungs ("special_charge_up_12") and tokens that every row or context has.
        stable_groups: other group, or attribute, -> name that every row or context has ("class": "Blaster": weapons of
            that class alone); stable_weapon is short for the weapon, where the sweep is over another group.
        confounders: what the adjusted estimate holds equal; by default all families and binaries.
        min_effect: least delta of a dominant group, as a share of the feature's effective maximum.
    """

    group: str | None = None
    min_examples: int = Field(default=10, ge=1)
    top_k_weapons: int = Field(default=20, ge=1, validation_alias=AliasChoices("top_k_weapons", "top_k"))
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}
    stable_weapon: str | None = None
    confounders: tuple[str, ...] | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)


@EXPERIMENTS.register("weapon_sweep")
class WeaponSweep(ExperimentKind):
    """Activation by group."""

    name = "weapon_sweep"
    aliases = ("group_sweep",)
    title = "Activation by weapon or another group"
    variables = WeaponVariables
    modes = (OBSERVED, CAUSAL)
    alternatives = GROUP_ALTERNATIVES

    def run(
        self, spec: ExperimentSpec, variables: WeaponVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure the sweep in the spec's mode."""
        column = group_column(context, variables.group)
        findings.add(group=column, dominant_weapon_detected=False, dominant_weapon=None, recommended_followup=None)
        held = groups_to_hold(column, variables.stable_groups, variables.stable_weapon)
        least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
        if spec.mode == CAUSAL:
            _intervene(spec, variables, context, findings, column, held, least)
        else:
            _observe(spec, variables, context, findings, column, held, least)

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The groups shown, as bars with their intervals."""
        column = str(result.aggregates.custom["group"])
        return {f"{column}_bars": group_bars(result, column)}


def _observe(
    spec: ExperimentSpec,
    variables: WeaponVariables,
    context: ExperimentContext,
    findings: Findings,
    column: str,
    stable: dict[str, str],
    least: float,
) -> None:
    found, held = held_rows(spec, context, findings, tokens=variables.stable_tokens, groups=stable)
    labels, codes = context.group_codes(column)
    names, clusters = codes[found.rows], context.clusters_of(found.rows)
    seed = derive_seed(spec.seed, "weapon sweep")
    means = group_means(
        found.values, names, clusters, min_examples=variables.min_examples, seed=seed, labels=labels.tolist()
    )
    findings.add(held=held.words)
    findings.n_contexts_tested, findings.n_comparisons = len(found), len(means.names)
    findings.drop(f"{column} with fewer than {variables.min_examples} rows", means.n_left_out)
    spread = float(means.delta.std(ddof=1)) if len(means.names) > 1 else None
    findings.aggregate(mean_delta=float(means.delta.mean()), std_delta=spread, n_samples=len(found))
    findings.add(global_mean=means.global_mean, n_groups=len(means.names), rows_left_out=means.rows_left_out)
    adjusted = _adjusted(found, names, labels.tolist(), clusters, means, context, findings, column, variables)
    shown = range(min(variables.top_k_weapons, len(means.names)))
    findings.table(
        f"{column}_stats",
        (column, *GROUP_COLUMNS, *ADJUSTED_COLUMNS),
        [{column: means.names[at], **interpreted_row(means, at), **adjusted.get(means.names[at], {})} for at in shown],
        caption="OBSERVATIONAL: mean activation of the group's rows against that of all rows, zeros included; 95 % "
        f"cluster bootstrap (t below 40 clusters); p by permutation, max-T over {len(means.names)} groups; "
        "effect: Cohen's d against the other rows; adjusted: at equal abilities.",
    )
    told = [at for at in range(len(means.names)) if means.n_clusters[at] >= FEW]
    if not told:
        findings.warn(f"no {column} has {FEW} independent rows: none is interpreted")
        return
    raised = {means.names[at]: means.is_raised(at) and bool(means.delta[at] >= least) for at in told}
    judge_groups(findings, context, column, tuple(raised), means.delta[told], list(raised.values()))
    row = _held_out(found, names, clusters, labels.tolist(), variables, least, seed)
    shown_row = [] if row is None else [{column: row["name"], **{key: row[key] for key in HELD_OUT_COLUMNS}}]
    findings.table("held_out", (column, *HELD_OUT_COLUMNS), shown_row,
                   caption=f"OBSERVATIONAL: the {column} with the largest delta in one half of the rows, held against "
                   "the other half, from which the held-out numbers come.")  # fmt: skip
    if row is not None and row["holds"] and raised.get(row["name"]):
        findings.claim(
            f"rows with {column} {row['name']} have a higher activation of feature {spec.feature_id} than all rows "
            f"together, {_said(row)} (associated)"
        )


def _adjusted(
    found: Slice,
    names: np.ndarray,
    labels: list[str],
    clusters: np.ndarray,
    means: GroupMeans,
    context: ExperimentContext,
    findings: Findings,
    column: str,
    variables: WeaponVariables,
) -> dict[str, dict[str, float]]:
    """The estimate of each group at equal abilities; groups that were left out count as one."""
    leave_out = (column, context.domain.attribute_group or "", *context.domain.attributes)
    known = confounders_of(context, leave_out=leave_out, names=variables.confounders)
    number = {name: at for at, name in enumerate(means.names)}
    place = np.array([number.get(name, len(number)) for name in labels])[names]
    if len(np.unique(place)) < 2:
        return {}
    _, table = known.of_rows(found.rows)
    if (np.diff(clusters) > 0).all():
        fit = adjusted_groups(found.values, place, table, kept=known.kept(found.rows, "within", column))
        ends = zip(means.names, fit.values, fit.low, fit.high, strict=False)
    else:
        groups = np.array([*means.names, ""])[place]
        spread = table[:, table.std(axis=0) > 0].astype(np.float64)
        try:
            refit = adjusted_group_effects(found.values, groups, spread if spread.shape[1] else None, clusters=clusters)
        except UsageError as refusal:
            findings.warn(f"no adjusted estimate: {refusal.seen}")
            return {}
        ends = zip(refit.names, refit.values, refit.low, refit.high, strict=True)
    findings.note(f"adjusted: least squares at equal {known.words}, against the mean of all rows")
    return {name: dict(zip(ADJUSTED_COLUMNS, map(float, rest), strict=True)) for name, *rest in ends}


def _held_out(
    found: Slice,
    names: np.ndarray,
    clusters: np.ndarray,
    labels: list[str],
    variables: WeaponVariables,
    least: float,
    seed: int,
) -> dict[str, Any] | None:
    """The group with the largest delta in one half of the clusters, and what the other half says of it."""
    held = second_half(clusters, seed)
    n_fewest = max(2, variables.min_examples // 2)
    try:
        first, second = (
            group_means(
                found.values[part], names[part], clusters[part], min_examples=n_fewest, seed=seed, labels=labels
            )
            for part in (~held, held)
        )
    except UsageError:  # no group is large enough in a half
        return None
    top = next((at for at in range(len(first.names)) if first.n_clusters[at] >= FEW), None)
    if top is None or first.names[top] not in second.names:
        return None
    at = second.names.index(first.names[top])
    holds = first.is_raised(top) and second.n_clusters[at] >= FEW and second.low[at] > 0 and second.p[at] < ALPHA
    return {
        "name": first.names[top], "selecting_delta": first.delta[top], "selecting_p_corrected": first.p_corrected[top],
        "held_out_delta": second.delta[at], "held_out_low": second.low[at], "held_out_high": second.high[at],
        "held_out_n": int(second.n[at]), "held_out_p": second.p[at],
        "holds": bool(holds and second.delta[at] >= 0.5 * least),
    }  # fmt: skip


def _said(row: dict[str, Any]) -> str:
    """What the held-out half says, in words."""
    size = f"{row['held_out_delta']:.3g} [{row['held_out_low']:.3g}, {row['held_out_high']:.3g}]"
    return f"by {size} in the held-out half (n = {row['held_out_n']}, p = {row['held_out_p']:.2g})"


def _intervene(
    spec: ExperimentSpec,
    variables: WeaponVariables,
    context: ExperimentContext,
    findings: Findings,
    column: str,
    stable: dict[str, str],
    least: float,
) -> None:
    names = large_groups(context, column, variables.min_examples, stable)
    n_all = len(context.group_codes(column)[0])
    findings.drop(
        f"{column} with fewer than {variables.min_examples} rows" + (" or other attributes" if stable else ""),
        n_all - len(names),
    )
    deltas, bases = substituted_deltas(
        spec, context, findings, column=column, names=names, tokens=variables.stable_tokens, groups=stable
    )
    findings.add(held=held_words(context, variables.stable_tokens, stable))
    cells, selecting = with_halves(deltas, bases, seed=derive_seed(spec.seed, "weapon sweep"))
    findings.n_comparisons = cells.n_tested
    order: list[int] = np.argsort(-np.nan_to_num(cells.mean, nan=-np.inf), kind="stable").tolist()
    rows: list[dict[str, Any]] = [{column: names[at], **cells.row(at)} for at in order[: variables.top_k_weapons]]
    findings.table(
        f"{column}_stats",
        (column, *CELL_COLUMNS),
        rows,
        caption=f"The same base contexts with each {column} substituted: activation less the base context's mean over "
        f"the {len(names)} of them. 95 % cluster bootstrap; p: sign-flip, max-T over {cells.n_tested}; effect: d_z.",
    )
    spread = float(np.nanstd(cells.mean, ddof=1))
    findings.aggregate(mean_delta=float(np.nanmean(cells.mean)), std_delta=spread, n_samples=len(bases))
    findings.add(n_groups=len(names))
    raised = [bool(cells.low[at] > 0 and cells.p_corrected[at] < ALPHA and cells.mean[at] >= least) for at in order]
    judge_groups(findings, context, column, tuple(names[at] for at in order), cells.mean[order], raised)
    top = int(np.argmax(np.nan_to_num(selecting.mean, nan=-np.inf)))
    told = confirm(deltas[:, top], bases, sign=1.0, min_effect=least, seed=derive_seed(spec.seed, "confirm"))
    second = bases.is_held_out
    ends = paired_cells(deltas[second][:, [top]], bases.clusters[second], seed=derive_seed(spec.seed, "held out"))
    row = {
        column: names[top], "selecting_delta": selecting.mean[top], "selecting_p_corrected": selecting.p_corrected[top],
        "held_out_delta": told.mean, "held_out_low": ends.low[0], "held_out_high": ends.high[0],
        "held_out_n": told.n, "held_out_p": told.p,
        "holds": bool(selecting.p_corrected[top] < ALPHA and selecting.mean[top] >= least and told.holds),
    }  # fmt: skip
    findings.table("held_out", (column, *HELD_OUT_COLUMNS), [row],
                   caption=f"The {column} with the largest delta in one half of the base contexts, held against the "
                   "other half, from which the held-out numbers come.")  # fmt: skip
    if row["holds"] and raised[order.index(top)] and not findings.violations:
        findings.claim(
            f"setting {column} to {names[top]} raises feature {spec.feature_id} against the mean over {len(names)} of "
            f"them, {_said(row)}"
        )
