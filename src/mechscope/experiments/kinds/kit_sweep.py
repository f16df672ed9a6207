"""Activation by what weapons have in common (sub, special), and whether that explains the weapon that stands out.

The unit of every test is the weapon: kits are dealt anew among weapons, and intervals resample weapons, so that one
weapon with a high activation does not speak for its kit. Interventional: weapons are substituted in the same base
contexts, and the deltas of those that share an attribute averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from mechscope.core import Spec, UsageError, derive_seed, unknown_name
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW, paired_cells
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.bars import group_bars
from mechscope.experiments.findings import Findings
from mechscope.experiments.groups.conditions import (
    GROUP_ALTERNATIVES,
    groups_to_hold,
    held_rows,
    held_words,
    large_groups,
    substituted_deltas,
)
from mechscope.experiments.groups.kits import agreement_p, explain_top, share_of_variance
from mechscope.experiments.groups.means import GROUP_COLUMNS, group_means
from mechscope.experiments.groups.verdicts import interpreted_row
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure

__all__ = ["KitSweep", "KitVariables"]

KIT = ("sub", "special")


class KitVariables(Spec):
    """The variables of a sweep over kits.

    Attributes:
        attributes: attributes of the domain's group; by default sub and special, else all, without what is held.
        min_examples: names, and weapons, with fewer rows are left out.
        top_k: rows of each table.
        analyze_combinations: also pairs of the first two attributes.
        stable_tokens: binaries, rungs and tokens that every row or context has.
        stable_groups: group or attribute -> name that every row or context has ("class": "Blaster": that class).
    """

    attributes: tuple[str, ...] = ()
    min_examples: int = Field(default=10, ge=1)
    top_k: int = Field(default=10, ge=1)
    analyze_combinations: bool = False
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}


@EXPERIMENTS.register("kit_sweep")
class KitSweep(ExperimentKind):
    """Activation by sub and special."""

    name = "kit_sweep"
    aliases = ("attribute_sweep",)
    title = "Activation by sub, special, or other attributes"
    variables = KitVariables
    modes = (OBSERVED, CAUSAL)
    alternatives = GROUP_ALTERNATIVES

    def run(
        self, spec: ExperimentSpec, variables: KitVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure the sweep in the spec's mode."""
        domain = context.domain
        if domain.attribute_group is None or not domain.attributes:
            raise UsageError("this subject has no attributes", expected="a kit, or the like", todo="use weapon_sweep")
        for name in variables.attributes:
            if name not in domain.attributes:
                raise unknown_name("attribute", name, domain.attributes)
        held = groups_to_hold(domain.attribute_group, variables.stable_groups, None)
        for name in variables.attributes:
            groups_to_hold(name, held, None)
        free = [name for name in domain.attributes if name not in held]
        attributes = list(variables.attributes) or [name for name in KIT if name in free] or free
        if not attributes:
            raise UsageError("every attribute is held constant", expected="one that varies", todo="hold fewer")
        if spec.mode == CAUSAL:
            _intervene(spec, variables, context, findings, domain.attribute_group, attributes)
        else:
            _observe(spec, variables, context, findings, domain.attribute_group, attributes)

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The names of each attribute shown, as bars with their intervals."""
        columns = [name.removesuffix("_stats") for name in result.tables if name.endswith("_stats")]
        return {f"{column}_bars": group_bars(result, column) for column in columns}


def _labels(context: ExperimentContext, weapons: Sequence[str], attributes: list[str]) -> tuple[list[str], np.ndarray]:
    """The sorted values of an attribute, or of the pair of attributes, and the index of each weapon's value."""
    tables = [context.domain.attributes[name] for name in attributes]
    known, index = np.unique([" + ".join(table.get(name, "") for table in tables) for name in weapons],
                             return_inverse=True)  # fmt: skip
    return known.tolist(), index.reshape(-1)


def _sets(variables: KitVariables, attributes: list[str]) -> dict[str, list[str]]:
    sets = {name: [name] for name in attributes}
    if variables.analyze_combinations and len(attributes) > 1:
        sets["combo"] = attributes[:2]
    return sets


def _observe(
    spec: ExperimentSpec,
    variables: KitVariables,
    context: ExperimentContext,
    findings: Findings,
    group: str,
    attributes: list[str],
) -> None:
    found, held = held_rows(spec, context, findings, tokens=variables.stable_tokens, groups=variables.stable_groups)
    names, codes = context.group_codes(group)
    weapons = codes[found.rows]
    findings.n_contexts_tested = len(found)
    findings.add(held=held.words)
    seed = derive_seed(spec.seed, "kit sweep")
    deltas: list[np.ndarray] = []
    raised: dict[str, list[str]] = {}
    for name, parts in _sets(variables, attributes).items():
        labels, of_weapon = _labels(context, names.tolist(), parts)
        means = group_means(
            found.values, of_weapon[weapons], weapons, min_examples=variables.min_examples, seed=seed, labels=labels
        )
        findings.n_comparisons += len(means.names)
        findings.drop(f"{name} with fewer than {variables.min_examples} rows", means.n_left_out)
        findings.table(
            f"{name}_stats",
            (name, *GROUP_COLUMNS),
            [
                {name: means.names[at], **interpreted_row(means, at)}
                for at in range(min(variables.top_k, len(means.names)))
            ],
            caption=f"OBSERVATIONAL: mean activation by {' and '.join(parts)} against all rows, zeros included. "
            f"Weapons are the units (n_clusters): 95 % interval over them; p: kits dealt anew, max-T over "
            f"{len(means.names)}; effect: Cohen's d of rows.",
        )
        told = [at for at in range(len(means.names)) if means.n_clusters[at] >= FEW]
        if not told:
            findings.warn(f"no {name} is shared by {FEW} {group}s with enough rows: none is interpreted")
        top = {"": np.array(means.names), "_mean": means.mean, "_delta": means.delta, "_p_corrected": means.p_corrected}
        findings.add(**{f"top_{name}{end}": each[told[0]].item() if told else None for end, each in top.items()})
        if name in attributes:
            deltas.append(means.delta)
            raised[name] = [
                n for at, n in enumerate(means.names) if means.is_raised(at) and means.n_clusters[at] >= FEW
            ]
            share, p = share_of_variance(found.values, weapons, of_weapon, seed)
            held_out = agreement_p(found.values, weapons, of_weapon, seed)
            findings.add(**{f"{name}_share_of_weapon_variance": share, f"{name}_share_p": p})
            findings.add(**{f"{name}_share_held_out_p": held_out if held_out == held_out else None})
            if p * len(attributes) < ALPHA and held_out < ALPHA:
                findings.claim(
                    f"{group}s with one {name} have like activations of feature {spec.feature_id}: {100 * share:.0f} % "
                    f"of the variance between {len(np.unique(weapons))} {group}s' means lies between {name}s (p = "
                    f"{p:.2g}; held-out half of the {group}s: p = {held_out:.2g}; associated)"
                )
    everything = np.concatenate(deltas)
    spread = float(everything.std(ddof=1)) if len(everything) > 1 else None
    findings.aggregate(mean_delta=float(everything.mean()), std_delta=spread, n_samples=len(found))
    by_weapon = group_means(
        found.values,
        weapons,
        context.clusters_of(found.rows),
        min_examples=variables.min_examples,
        seed=seed,
        labels=names.tolist(),
    )
    explain_top(by_weapon, context, findings, group, attributes, raised, seed)


def _intervene(
    spec: ExperimentSpec,
    variables: KitVariables,
    context: ExperimentContext,
    findings: Findings,
    group: str,
    attributes: list[str],
) -> None:
    names = large_groups(context, group, variables.min_examples, variables.stable_groups)
    deltas, bases = substituted_deltas(
        spec,
        context,
        findings,
        column=group,
        names=names,
        tokens=variables.stable_tokens,
        groups=variables.stable_groups,
    )
    findings.add(held=held_words(context, variables.stable_tokens, variables.stable_groups))
    for name, parts in _sets(variables, attributes).items():
        known, label = _labels(context, names, parts)
        table = np.stack([deltas[:, label == at].mean(axis=1) for at in range(len(known))], axis=1)
        cells = paired_cells(table, bases.clusters, seed=derive_seed(spec.seed, name))
        findings.n_comparisons += cells.n_tested
        order: list[int] = np.argsort(-np.nan_to_num(cells.mean, nan=-np.inf), kind="stable").tolist()
        n_weapons = np.bincount(label).tolist()
        findings.table(
            f"{name}_stats",
            (name, "n_weapons", *CELL_COLUMNS),
            [{name: known[at], "n_weapons": n_weapons[at], **cells.row(at)} for at in order[: variables.top_k]],
            caption=f"The same base contexts with each {group} substituted, averaged over those that share the {name}: "
            f"less the mean over {len(names)}. 95 % cluster bootstrap; p: sign-flip, max-T; effect: d_z.",
        )
        told = [at for at in order if not np.isnan(cells.p[at])]
        if not told:
            findings.warn(f"no {name} was measured in {FEW} independent base contexts: none is interpreted")
        findings.add(**{f"top_{name}": known[told[0]] if told else None})
        findings.add(**{f"top_{name}_delta": cells.mean[told[0]] if told else None})
    each = deltas[~np.isnan(deltas).any(axis=1)].mean(axis=0)
    findings.aggregate(mean_delta=float(each.mean()), std_delta=float(each.std(ddof=1)), n_samples=len(bases))
    findings.note(f"what is set is the {group}; that its {' or '.join(attributes)} acts is not shown by this alone")
