"""How a third token or weapon, the modulator, changes the interaction of a pair.

Interventional: a factorial design of three factors on every base context, the eight corners paired; the triple
difference is the pair's second difference with the modulator less that without it, and 0 when the modulator leaves the
interaction as it is. It is symmetric in the three. As for pairs its sign belongs to the stated scale, by default before
the dictionary's ReLU or TopK. Observational: rows in the eight cells, zeros included, adjusted for named confounders.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import Field

from mechscope.core import Spec, UsageError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.algorithms import corner_signs
from mechscope.experiments.base_contexts import Bases, draw_bases
from mechscope.experiments.candidates import common_in_high_rows, influential
from mechscope.experiments.cells import CELL_COLUMNS, paired_cells
from mechscope.experiments.changes import Held, parse_held
from mechscope.experiments.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.factorial import Corners, Design, Scale, measure_corners, scale_words
from mechscope.experiments.factors import Factor, every_factor, parse_factors, require_apart
from mechscope.experiments.findings import Findings
from mechscope.experiments.interaction_estimates import Estimates, estimate
from mechscope.experiments.interaction_figures import modulators_figure
from mechscope.experiments.interaction_tables import (
    HELD_COLUMNS,
    aggregate_differences,
    design_rows,
    floor_table,
    say_scales,
    scales_table,
)
from mechscope.experiments.interactions_beside import observed_table, rows_beside, topics_held
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observed_interactions import halves_of, observe_designs, observed_row
from mechscope.experiments.observing import rows_holding_constant
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.slicing import slice_rows
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure

__all__ = ["ConditionalInteractions", "ConditionalVariables"]

BASES = 200
SIDES = ("without", "with")
SIDE_COLUMNS = tuple(f"{side}{end}" for side in SIDES for end in ("", "_low", "_high"))
MODULATOR_COLUMNS = ("modulator", *CELL_COLUMNS, *SIDE_COLUMNS, *HELD_COLUMNS)
OBSERVED_COLUMNS = ("modulator", *CELL_COLUMNS, *HELD_COLUMNS)
VERDICTS = {1: "raises the interaction", -1: "lowers the interaction"}
SEEN_VERDICTS = {1: "larger interaction", -1: "smaller interaction"}


class ConditionalVariables(Spec):
    """The variables of conditional interactions.

    Attributes:
        pair: two tokens, as in `pairwise_interactions`. By default the two of the chosen tokens whose interaction is
            largest, for its size, on the half that selects.
        modulators: tokens, rungs or groups ("weapon=Splattershot") that may change it; by default tokens of large
            effect where the feature is high, chosen on the same half.
        top_k: modulators chosen when none are named.
        scale: as in `pairwise_interactions`.
        stable_tokens, stable_groups, stable_weapon: what every condition has, as in a sweep.
        confounders: what the observed difference is adjusted for; by default the weapon, other families and binaries.
        min_effect: least triple difference that counts, as a share of the feature's effective maximum.
        observed_beside: show what rows have beside the intervention.
    """

    pair: tuple[str, str] | None = None
    modulators: tuple[str, ...] = ()
    top_k: int = Field(default=6, ge=1, le=40)
    scale: Scale | None = None
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}
    stable_weapon: str | None = None
    confounders: tuple[str, ...] | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)
    observed_beside: bool = True


@EXPERIMENTS.register("conditional_interactions")
class ConditionalInteractions(ExperimentKind):
    """Triple differences of a pair and each of some modulators."""

    name = "conditional_interactions"
    title = "How a third token changes the interaction of a pair"
    variables = ConditionalVariables
    modes = (CAUSAL, OBSERVED)
    alternatives = (
        "rows with all three go with a weapon (or another group) that is what the feature follows",
        "players who take them together tend to take other abilities too, and those are what the feature follows",
        "the floor at zero makes means of activations interact where effects before it add up",
    )

    def run(
        self, spec: ExperimentSpec, variables: ConditionalVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure every modulator in the spec's mode."""
        groups = variables.stable_groups
        groups = groups | ({} if variables.stable_weapon is None else {"weapon": variables.stable_weapon})
        held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=groups)
        named = parse_factors(context, [*(variables.pair or ()), *variables.modulators], held)
        n_pair = len(variables.pair or ())
        pair, modulators = named[:n_pair], named[n_pair:]
        require_apart(pair)
        for modulator in modulators:
            require_apart([*pair, modulator])
        if spec.mode == OBSERVED:
            _observe(spec, variables, context, findings, held, pair, modulators)
        else:
            _intervene(spec, variables, context, findings, held, pair, modulators)

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The pair's interaction without and with each modulator."""
        table = result.tables.get("conditional_interactions")
        pair: Any = result.aggregates.custom.get("pair") or ("the first", "the second")
        words = f"{pair[0]} and {pair[1]}"
        return {"modulators": modulators_figure(table, result.feature_id, str(result.evidence), words)}


def _names(design: Design) -> dict[str, str]:
    return {"modulator": design[2].name}


def _label(design: Design) -> str:
    return design[2].name


def _chosen(pair: list[Factor], candidates: list[Factor], top_k: int) -> list[Factor]:
    topics = {factor.topic for factor in pair}
    found = [factor for factor in candidates if factor.topic not in topics][:top_k]
    if not found:
        raise UsageError("no token besides the pair", expected="a modulator", todo="name modulators")
    return found


def _intervene(
    spec: ExperimentSpec,
    variables: ConditionalVariables,
    context: ExperimentContext,
    findings: Findings,
    held: Held,
    pair: list[Factor],
    modulators: list[Factor],
) -> None:
    scale: Scale = variables.scale or "pre_activation"
    bases = draw_bases(spec, context, findings, held=held, n_bases=BASES)
    if not (pair and modulators):
        candidates = influential(
            spec, context, findings, bases, every_factor(context, held), scale=scale, top_k=variables.top_k + 2
        )
        pair = pair or _strongest_pair(spec, context, bases, candidates, scale)
        modulators = modulators or _chosen(pair, candidates, variables.top_k)
    findings.add(pair=[factor.name for factor in pair], scale=scale, held=held.words)
    designs = [(pair[0], pair[1], modulator) for modulator in modulators if _is_apart(pair, modulator)]
    constraints = Constraints(spec.constraints, context, findings)
    corners = measure_corners(context, spec.feature_id, bases, designs, constraints)
    touches = bool(held.change.groups) or any(factor.group for factor in (*pair, *modulators))
    is_withheld = constraints.floor(corners.activation.reshape(len(bases), -1), touches_group=touches)
    maximum = float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    found = estimate(corners, bases, stated=scale, min_effect=variables.min_effect, maximum=maximum,
                     seed=derive_seed(spec.seed, "modulators"))  # fmt: skip
    sides = _sides(corners, found, bases, derive_seed(spec.seed, "sides"))
    _write(corners, found, sides, context, findings)
    say_scales(findings, corners, found, _label)
    if not is_withheld:
        _claim(spec, corners, found, sides, context, findings)
    if variables.observed_beside:
        rows_beside(spec, context, findings, corners, bases, held, names=_names, label=_label,
                    confounders=variables.confounders, least=found.least["activation"])  # fmt: skip


def _is_apart(pair: list[Factor], modulator: Factor) -> bool:
    return modulator.topic not in {factor.topic for factor in pair}


def _strongest_pair(
    spec: ExperimentSpec, context: ExperimentContext, bases: Bases, candidates: list[Factor], scale: Scale
) -> list[Factor]:
    """The pair of candidates with the largest mean second difference in size, in the selecting half."""
    designs = list(combinations(candidates, 2))
    constraints = Constraints(spec.constraints, context, Findings())
    corners = measure_corners(context, spec.feature_id, bases, designs, constraints)
    differences = corners.differences(scale)[~bases.is_held_out]
    n = (~np.isnan(differences)).sum(axis=0)
    means = np.where(n >= 0.5 * n.max(), np.nansum(differences, axis=0) / np.maximum(n, 1), 0.0)
    return list(designs[int(np.abs(means).argmax())])


def _sides(corners: Corners, found: Estimates, bases: Bases, seed: int) -> list[dict[str, float]]:
    """The pair's second difference without and with each modulator, with intervals, on the stated scale."""
    values = corners.on(found.stated)
    rows: list[dict[str, float]] = [{} for _ in corners.designs]
    for at, side in enumerate(SIDES):
        second = np.where(np.isfinite(values).all(axis=2), values[:, :, 4 * at : 4 * at + 4] @ corner_signs(2), np.nan)
        cells = paired_cells(second, bases.clusters, seed=derive_seed(seed, side))
        for index, row in enumerate(rows):
            row |= {side: cells.mean[index], f"{side}_low": cells.low[index], f"{side}_high": cells.high[index]}
    return rows


def _write(
    corners: Corners,
    found: Estimates,
    sides: list[dict[str, float]],
    context: ExperimentContext,
    findings: Findings,
) -> None:
    first, second = corners.designs[0][0].name, corners.designs[0][1].name
    rows = [row | side for row, side in zip(design_rows(corners, found, _names, VERDICTS), sides, strict=True)]
    rows.sort(key=lambda row: -abs(row["mean_delta"]) if row["n"] else 1.0)
    findings.table(
        "conditional_interactions",
        MODULATOR_COLUMNS,
        rows,
        caption=f"Interaction of {first} and {second} {scale_words(found.stated, context)}, without and with the "
        "modulator; mean_delta: with less without, paired. Intervals: 95 %, cluster bootstrap; p: sign-flip, max-T "
        f"over {found.main.n_tested} modulators; effect: d_z. A verdict holds on this scale alone; it was chosen on "
        "one half of the base contexts and confirmed on the other.",
    )
    scales_table(findings, corners, found, _names, context)
    floor_table(findings, corners, found, _names)
    findings.n_comparisons = found.main.n_tested
    aggregate_differences(findings, corners, found.stated)
    confirmed = [row["modulator"] for row in rows if row["verdict"]]
    findings.add(modulators=confirmed, n_modulators=len(rows), min_effect=found.least[found.stated])


def _claim(
    spec: ExperimentSpec,
    corners: Corners,
    found: Estimates,
    sides: list[dict[str, float]],
    context: ExperimentContext,
    findings: Findings,
) -> None:
    words = scale_words(found.stated, context)
    for at, design in enumerate(corners.designs):
        told, side = found.told[at], sides[at]
        if not found.signs[at] or told is None:
            continue
        is_turned = side["without_low"] * side["without_high"] > 0 and side["with_low"] * side["with_high"] > 0
        turned = ", turning its sign" if is_turned and side["without"] * side["with"] < 0 else ""
        findings.claim(
            f"{design[2].name} {VERDICTS[found.signs[at]]} of {design[0].name} and {design[1].name} on feature "
            f"{spec.feature_id} {words} from {side['without']:+.3g} to {side['with']:+.3g}{turned} "
            f"(triple difference {found.main.mean[at]:+.3g}, held out {told.mean:+.3g})"
        )


def _observe(
    spec: ExperimentSpec,
    variables: ConditionalVariables,
    context: ExperimentContext,
    findings: Findings,
    held: Held,
    pair: list[Factor],
    modulators: list[Factor],
) -> None:
    if variables.scale not in (None, "activation"):
        raise UsageError(
            f"scale {variables.scale!r} of stored rows", expected="activation", todo='use the mode "interventional"'
        )
    found = rows_holding_constant(slice_rows(spec, context, findings), context, held)
    is_held_out = halves_of(found, context, seed=spec.seed)
    if not (pair and modulators):
        every = every_factor(context, held)
        candidates = common_in_high_rows(found, ~is_held_out, context, every, variables.top_k + 2)
        pair = pair or candidates[:2]
        modulators = modulators or _chosen(pair, candidates, variables.top_k)
    designs = [(pair[0], pair[1], modulator) for modulator in modulators if _is_apart(pair, modulator)]
    least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    seen = observe_designs(found, is_held_out, context, designs, leave_out=topics_held(held),
                           confounders=variables.confounders, least=least, seed=spec.seed)  # fmt: skip
    rows: list[dict[str, Any]] = []
    for design, one in zip(designs, seen, strict=True):
        rows.append({**_names(design), **observed_row(one), "verdict": SEEN_VERDICTS.get(one.sign, "")})
        if one.sign:
            findings.claim(
                f"rows with {design[2].name} show a {SEEN_VERDICTS[one.sign]} of {pair[0].name} and {pair[1].name} in "
                f"feature {spec.feature_id} than rows without (associated, {one.value:+.3g} of the activation, "
                f"adjusted for {one.words})"
            )
    rows.sort(key=lambda row: -abs(row.get("mean_delta") or 0.0))
    findings.table(
        "conditional_interactions",
        OBSERVED_COLUMNS,
        rows,
        caption=f"OBSERVATIONAL: how far the interaction of {pair[0].name} and {pair[1].name} differs between rows "
        f"with and without the modulator, zeros included, by least squares adjusted for {seen[0].words}; p corrected "
        f"by Holm over {len(rows)}; effect: over the standard deviation of the rows. Chosen on one half of the rows, "
        "confirmed on the other.",
    )
    observed_table(findings, "cells", designs, seen, _names)
    findings.n_contexts_tested, findings.n_comparisons = len(found), sum("p" in row for row in rows)
    findings.aggregate(n_samples=len(found))
    findings.add(
        pair=[factor.name for factor in pair],
        scale="activation",
        held=held.words,
        modulators=[row["modulator"] for row in rows if row["verdict"]],
        n_modulators=len(rows),
        min_effect=least,
    )
