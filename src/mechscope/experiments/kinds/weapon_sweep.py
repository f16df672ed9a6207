"""Activation by weapon, or by any other group: which groups go with the feature, and whether one stands out.

Observational, by default: rows are grouped, zeros included, and each mean held against that of all rows; beside it the
estimate at equal abilities. Interventional: the same base contexts with each weapon substituted in turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import AliasChoices, Field

from mechscope.core import Spec, UsageError, derive_seed, numpy_generator
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.cells import CELL_COLUMNS
from mechscope.experiments.confounders import confounders_of
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.group_conditions import (
    GROUP_ALTERNATIVES,
    group_column,
    held_rows,
    large_groups,
    substituted_deltas,
)
from mechscope.experiments.group_means import GROUP_COLUMNS, GroupMeans, group_means
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.selecting import ALPHA, confirm, with_halves
from mechscope.experiments.slicing import Slice
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.stats import adjusted_group_effects

__all__ = ["WeaponSweep", "WeaponVariables"]

ADJUSTED_COLUMNS = ("adjusted", "adjusted_low", "adjusted_high")
DOMINANCE = 2.0


class WeaponVariables(Spec):
    """The variables of a sweep over groups.

    Attributes:
        group: the column; by default the one that the domain describes (weapon).
        min_examples: groups of fewer rows are left out, and counted.
        top_k_weapons: groups shown, from the largest delta down; all are tested. `top_k` for short.
        stable_tokens: binaries, rungs ("special_charge_up_12") and tokens that every row or context has.
        confounders: what the adjusted estimate holds equal; by default all families and binaries.
        min_effect: least delta of a dominant group, as a share of the feature's effective maximum.
    """

    group: str | None = None
    min_examples: int = Field(default=10, ge=1)
    top_k_weapons: int = Field(default=20, ge=1, validation_alias=AliasChoices("top_k_weapons", "top_k"))
    stable_tokens: tuple[str, ...] = ()
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
        least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
        if spec.mode == CAUSAL:
            _intervene(spec, variables, context, findings, column, least)
        else:
            _observe(spec, variables, context, findings, column, least)


def _observe(
    spec: ExperimentSpec,
    variables: WeaponVariables,
    context: ExperimentContext,
    findings: Findings,
    column: str,
    least: float,
) -> None:
    found, _ = held_rows(spec, context, findings, tokens=variables.stable_tokens)
    names, clusters = context.group_values(column)[found.rows], context.clusters_of(found.rows)
    seed = derive_seed(spec.seed, "weapon sweep")
    means = group_means(found.values, names, clusters, min_examples=variables.min_examples, seed=seed)
    findings.n_contexts_tested, findings.n_comparisons = len(found), len(means.names)
    findings.drop(f"{column} with fewer than {variables.min_examples} rows", means.n_left_out)
    spread = float(means.delta.std(ddof=1)) if len(means.names) > 1 else None
    findings.aggregate(mean_delta=float(means.delta.mean()), std_delta=spread, n_samples=len(found))
    findings.add(global_mean=means.global_mean, n_groups=len(means.names), rows_left_out=means.rows_left_out)
    adjusted = _adjusted(found, names, clusters, means, context, findings, column, variables)
    shown = range(min(variables.top_k_weapons, len(means.names)))
    findings.table(
        f"{column}_stats",
        (column, *GROUP_COLUMNS, *ADJUSTED_COLUMNS),
        [{column: means.names[at], **means.row(at), **adjusted.get(means.names[at], {})} for at in shown],
        caption="OBSERVATIONAL: mean activation of the group's rows against that of all rows, zeros included; 95 % "
        f"cluster bootstrap (t below 40 clusters); p by permutation, max-T over {len(means.names)} groups; "
        "effect: Cohen's d against the other rows; adjusted: at equal abilities.",
    )
    raised = [means.is_raised(at) and means.delta[at] >= least for at in range(len(means.names))]
    _judge(findings, context, column, means.names, means.delta, raised)
    if raised[0] and _holds_in_halves(found, names, clusters, means.names[0], variables, seed):
        findings.claim(
            f"rows with {column} {means.names[0]} have a higher activation of feature {spec.feature_id} than all rows "
            f"together, by {means.delta[0]:.3g} (associated)"
        )


def _adjusted(
    found: Slice,
    names: np.ndarray,
    clusters: np.ndarray,
    means: GroupMeans,
    context: ExperimentContext,
    findings: Findings,
    column: str,
    variables: WeaponVariables,
) -> dict[str, dict[str, float]]:
    leave_out = (column, context.domain.attribute_group or "", *context.domain.attributes)
    known = confounders_of(context, leave_out=leave_out, names=variables.confounders)
    table = known.covariates[found.rows]
    table = table[:, table.std(axis=0) > 0]
    lumped = np.where(np.isin(names, means.names), names, "")
    if len(np.unique(lumped)) < 2:
        return {}
    try:
        fit = adjusted_group_effects(found.values, lumped, table if table.shape[1] else None, clusters=clusters)
    except UsageError as refusal:
        findings.warn(f"no adjusted estimate: {refusal.seen}")
        return {}
    findings.note(f"adjusted: least squares at equal {known.words}, against the mean of all rows")
    ends = zip(fit.names, fit.values, fit.low, fit.high, strict=True)
    return {name: dict(zip(ADJUSTED_COLUMNS, map(float, rest), strict=True)) for name, *rest in ends}


def _holds_in_halves(
    found: Slice, names: np.ndarray, clusters: np.ndarray, top: str, variables: WeaponVariables, seed: int
) -> bool:
    """Whether one half of the clusters puts this group first and the other half confirms that it is raised."""
    _, units = np.unique(clusters, return_inverse=True)
    held = (numpy_generator(seed, "halves").permutation(int(units.max()) + 1) % 2 == 1)[units.reshape(-1)]
    n_fewest = max(2, variables.min_examples // 2)
    halves = []
    for part in (~held, held):
        if (names[part] == top).sum() < n_fewest:
            return False
        halves.append(group_means(found.values[part], names[part], clusters[part], min_examples=n_fewest, seed=seed))
    first, second = halves
    at = second.names.index(top)
    return first.is_raised(first.names.index(top)) and bool(second.low[at] > 0 and second.p[at] < ALPHA)


def _intervene(
    spec: ExperimentSpec,
    variables: WeaponVariables,
    context: ExperimentContext,
    findings: Findings,
    column: str,
    least: float,
) -> None:
    names = large_groups(context, column, variables.min_examples)
    n_all = len(np.unique(context.group_values(column)))
    findings.drop(f"{column} with fewer than {variables.min_examples} rows", n_all - len(names))
    deltas, bases = substituted_deltas(
        spec, context, findings, column=column, names=names, tokens=variables.stable_tokens
    )
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
    _judge(findings, context, column, tuple(names[at] for at in order), cells.mean[order], raised)
    top = order[0]
    if raised[0] and selecting.p_corrected[top] < ALPHA and selecting.mean[top] > 0:
        held = confirm(deltas[:, top], bases, sign=1.0, min_effect=least, seed=derive_seed(spec.seed, "confirm"))
        if held.holds and not findings.violations:
            findings.claim(
                f"setting {column} to {names[top]} raises feature {spec.feature_id} by {cells.mean[top]:.3g} against "
                f"the mean over {len(names)} of them"
            )


def _judge(
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
        findings.warn(f"DOMINANT WEAPON: {names[0]} has a delta of {delta[0]:+.3g}, {against} {names[1]}")
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
