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
from mechscope.experiments.changing.base_contexts import Bases, draw_bases
from mechscope.experiments.changing.cells import CELL_COLUMNS
from mechscope.experiments.changing.changes import Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.interactions import modulators_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.beside import observe_alone, observed_table, rows_beside
from mechscope.experiments.interactions.candidates import common_in_high_rows, influential
from mechscope.experiments.interactions.estimates import estimate
from mechscope.experiments.interactions.factorial import Design, Scale, measure_corners
from mechscope.experiments.interactions.factors import (
    Factor,
    every_factor,
    parse_factors,
    require_apart,
    require_settable,
)
from mechscope.experiments.interactions.modulators import (
    claim_modulators,
    modulator_label,
    modulator_names,
    modulators_table,
    without_and_with,
)
from mechscope.experiments.interactions.observed import halves_of
from mechscope.experiments.interactions.tables import HELD_COLUMNS, shared_tables
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.levels import rows_holding_constant
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure

__all__ = ["ConditionalInteractions", "ConditionalVariables"]

BASES = 200
OBSERVED_COLUMNS = ("modulator", *CELL_COLUMNS, *HELD_COLUMNS)
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
    require_settable(context, [*pair, *modulators])
    bases = draw_bases(spec, context, findings, held=held, n_bases=BASES)
    if not (pair and modulators):
        candidates = influential(
            spec, context, findings, bases, every_factor(context, held), scale=scale, top_k=variables.top_k + 2
        )
        pair = pair or _strongest_pair(spec, context, bases, candidates, scale)
        modulators = modulators or _chosen(pair, candidates, variables.top_k)
    findings.add(pair=[factor.name for factor in pair], scale=scale, held=held.words)
    designs = _designs(pair, modulators, findings)
    constraints = Constraints(spec.constraints, context, findings)
    corners = measure_corners(context, spec.feature_id, bases, designs, constraints)
    touches = bool(held.change.groups) or any(factor.group for factor in (*pair, *modulators))
    is_withheld = constraints.floor(corners.activation.reshape(len(bases), -1), touches_group=touches)
    maximum = float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    found = estimate(corners, bases, stated=scale, min_effect=variables.min_effect, maximum=maximum,
                     seed=derive_seed(spec.seed, "modulators"))  # fmt: skip
    sides = without_and_with(corners, found, bases, seed=derive_seed(spec.seed, "sides"))
    modulators_table(findings, corners, found, sides, context)
    shared_tables(findings, corners, found, context, names=modulator_names, label=modulator_label)
    if not is_withheld:
        claim_modulators(findings, corners, found, sides, context, feature=spec.feature_id)
    if variables.observed_beside:
        rows_beside(spec, context, findings, corners, bases, held, names=modulator_names, label=modulator_label,
                    confounders=variables.confounders, least=found.least["activation"])  # fmt: skip


def _designs(pair: list[Factor], modulators: list[Factor], findings: Findings) -> list[Design]:
    topics = {factor.topic for factor in pair}
    designs = [(pair[0], pair[1], modulator) for modulator in modulators if modulator.topic not in topics]
    if not designs:
        require_apart([*pair, *modulators])
    findings.drop("modulators that set what the pair sets", len(modulators) - len(designs))
    return list(designs)


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
    designs = _designs(pair, modulators, findings)
    least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    rows, seen = observe_alone(spec, context, findings, found, is_held_out, designs, held, names=modulator_names,
                               confounders=variables.confounders, least=least, verdicts=SEEN_VERDICTS)  # fmt: skip
    first, second = pair[0].name, pair[1].name
    findings.table(
        "conditional_interactions",
        OBSERVED_COLUMNS,
        rows,
        caption=f"OBSERVATIONAL: how far the interaction of {first} and {second} differs between rows with and without "
        f"the modulator, zeros included, by least squares adjusted for {seen[0].words}; p corrected by Holm over "
        f"{len(rows)}; effect: over the standard deviation of the rows. Chosen on one half of the rows, confirmed on "
        "the other.",
    )
    observed_table(findings, designs, seen, modulator_names)
    confirmed = [row["modulator"] for row in rows if row["verdict"]]
    findings.add(pair=[first, second], scale="activation", held=held.words)
    findings.add(modulators=confirmed, n_modulators=len(rows))
    for design, one in zip(designs, seen, strict=True):
        if one.sign:
            findings.claim(
                f"rows with {design[2].name} show a {SEEN_VERDICTS[one.sign]} of {first} and {second} in feature "
                f"{spec.feature_id} than rows without (associated, {one.value:+.3g} of the activation, adjusted)"
            )
