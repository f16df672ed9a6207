"""Pairs of tokens: do two together do more, or less, than the sum of each?

Interventional: a factorial design on every base context, the four corners paired; the second difference
f(a, b) - f(a) - f(b) + f(0) is 0 when effects add up. Above 0 it is named synergy, below 0 redundancy, on the stated
scale alone: by default before the dictionary's ReLU or TopK, where no floor can make it. Beside it stand the scales of
the activation and its logarithm, the floor's part, exact Shapley and Banzhaf interaction, and what rows show.
Observational: rows in the four cells, zeros included, adjusted for named confounders.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from pydantic import Field

from mechscope.core import Spec, UsageError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.algorithms.shapiq_indices import ShapiqIndex, require_shapiq
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.changing.cells import CELL_COLUMNS
from mechscope.experiments.changing.changes import Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.interactions import pairs_figure
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
from mechscope.experiments.interactions.games import play_pairs
from mechscope.experiments.interactions.observed import halves_of
from mechscope.experiments.interactions.pairs import claim_pairs, pair_label, pair_names, pairs_table
from mechscope.experiments.interactions.tables import HELD_COLUMNS, shared_tables
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.levels import rows_holding_constant
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure

__all__ = ["PairwiseInteractions", "PairwiseVariables"]

BASES = 200
SEEN_VERDICTS = {1: "more than the sum", -1: "less than the sum"}
OBSERVED_COLUMNS = ("first", "second", *CELL_COLUMNS, *HELD_COLUMNS)


class PairwiseVariables(Spec):
    """The variables of pairwise interactions.

    Attributes:
        tokens: what is paired, every one with every other: binaries ("comeback"), rungs ("special_charge_up_12"),
            tokens, groups ("weapon=Splattershot", or its name alone). By default the `top_k` of largest effect where
            the feature is high, chosen on one half.
        pairs: these pairs alone, instead of all pairs of `tokens`.
        top_k: tokens chosen when none are named.
        scale: on which the difference is tested and named: "pre_activation" (before ReLU or TopK), "activation" or
            "log"; by default before, and the activation in observational mode, which knows no other.
        players: tokens in the game behind Shapley and Banzhaf interaction, 2^players forwards a base context; 0: none.
        shapiq_indices: further indices of that game ("STII", "FSII", "FBII"), which need shapiq.
        stable_tokens, stable_groups, stable_weapon: what every condition has, as in a sweep.
        confounders: what the observed interaction is adjusted for; by default the weapon, other families and binaries.
        min_effect: least interaction that counts, as a share of the feature's effective maximum.
        observed_beside: show what rows have beside the intervention.
    """

    tokens: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    top_k: int = Field(default=8, ge=2, le=40)
    scale: Scale | None = None
    players: int = Field(default=5, ge=0, le=10)
    shapiq_indices: tuple[ShapiqIndex, ...] = ()
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}
    stable_weapon: str | None = None
    confounders: tuple[str, ...] | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)
    observed_beside: bool = True


@EXPERIMENTS.register("pairwise_interactions")
class PairwiseInteractions(ExperimentKind):
    """Second differences of pairs of tokens."""

    name = "pairwise_interactions"
    aliases = ("interactions",)
    title = "Pairs of tokens: synergy and redundancy"
    variables = PairwiseVariables
    modes = (CAUSAL, OBSERVED)
    alternatives = (
        "rows with both go with a weapon (or another group) that is what the feature follows",
        "players who take both tend to take other abilities too, and those are what the feature follows",
        "the floor at zero makes means of activations interact where effects before it add up",
    )

    def run(
        self, spec: ExperimentSpec, variables: PairwiseVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure every pair in the spec's mode."""
        groups = variables.stable_groups
        groups = groups | ({} if variables.stable_weapon is None else {"weapon": variables.stable_weapon})
        held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=groups)
        names = list(dict.fromkeys(name for pair in variables.pairs for name in pair)) or list(variables.tokens)
        if variables.pairs and variables.tokens:
            raise UsageError("both tokens and pairs", expected="one of them", todo="leave one out")
        if len(names) == 1:
            raise UsageError(f"one token, {names[0]!r}", expected="two or more", todo="name another")
        if variables.shapiq_indices:
            require_shapiq()
        named = parse_factors(context, names, held)
        findings.add(held=held.words, scale=variables.scale or _default(spec))
        if spec.mode == OBSERVED:
            _observe(spec, variables, context, findings, held, named)
        else:
            _intervene(spec, variables, context, findings, held, named)

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The pairs as a heatmap, blue below the sum and orange above it."""
        table = result.tables.get("pair_interactions")
        return {"pairs": pairs_figure(table, result.feature_id, str(result.evidence))}


def _default(spec: ExperimentSpec) -> Scale:
    return "activation" if spec.mode == OBSERVED else "pre_activation"


def _designs(variables: PairwiseVariables, factors: list[Factor], findings: Findings) -> list[Design]:
    """The pairs asked for, or all pairs of factors that set different things."""
    if variables.pairs:
        asked = dict(zip(dict.fromkeys(name for pair in variables.pairs for name in pair), factors, strict=True))
        chosen = [(asked[first], asked[second]) for first, second in dict.fromkeys(variables.pairs)]
        for design in chosen:
            require_apart(design)
        return list(chosen)
    designs = [pair for pair in combinations(factors, 2) if pair[0].topic != pair[1].topic]
    findings.drop(
        "pairs that set the same thing (rungs of one family)", len(factors) * (len(factors) - 1) // 2 - len(designs)
    )
    if not designs:
        require_apart(factors)
    return list(designs)


def _intervene(
    spec: ExperimentSpec,
    variables: PairwiseVariables,
    context: ExperimentContext,
    findings: Findings,
    held: Held,
    named: list[Factor],
) -> None:
    scale = variables.scale or _default(spec)
    require_settable(context, named)
    bases = draw_bases(spec, context, findings, held=held, n_bases=BASES)
    factors = named or influential(
        spec, context, findings, bases, every_factor(context, held), scale=scale, top_k=variables.top_k
    )
    designs = _designs(variables, factors, findings)
    constraints = Constraints(spec.constraints, context, findings)
    corners = measure_corners(context, spec.feature_id, bases, designs, constraints)
    touches = bool(held.change.groups) or any(factor.group for factor in factors)
    is_withheld = constraints.floor(corners.activation.reshape(len(bases), -1), touches_group=touches)
    maximum = float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    found = estimate(corners, bases, stated=scale, min_effect=variables.min_effect, maximum=maximum,
                     seed=derive_seed(spec.seed, "pairs"))  # fmt: skip
    pairs_table(findings, corners, found, context)
    shared_tables(findings, corners, found, context, names=pair_names, label=pair_label)
    if not is_withheld:
        claim_pairs(findings, corners, found, context, feature=spec.feature_id)
    if variables.players >= 2:
        play_pairs(spec, context, findings, bases, factors, scale=scale, n_players=variables.players,
                   also=variables.shapiq_indices)  # fmt: skip
    if variables.observed_beside:
        rows_beside(spec, context, findings, corners, bases, held, names=pair_names, label=pair_label,
                    confounders=variables.confounders, least=found.least["activation"])  # fmt: skip


def _observe(
    spec: ExperimentSpec,
    variables: PairwiseVariables,
    context: ExperimentContext,
    findings: Findings,
    held: Held,
    named: list[Factor],
) -> None:
    if variables.scale not in (None, "activation"):
        raise UsageError(
            f"scale {variables.scale!r} of stored rows", expected="activation", todo='use the mode "interventional"'
        )
    found = rows_holding_constant(slice_rows(spec, context, findings), context, held)
    is_held_out = halves_of(found, context, seed=spec.seed)
    factors = named or common_in_high_rows(found, ~is_held_out, context, every_factor(context, held), variables.top_k)
    designs = _designs(variables, factors, findings)
    least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    rows, seen = observe_alone(spec, context, findings, found, is_held_out, designs, held, names=pair_names,
                               confounders=variables.confounders, least=least, verdicts=SEEN_VERDICTS)  # fmt: skip
    findings.table(
        "pair_interactions",
        OBSERVED_COLUMNS,
        rows,
        caption=f"OBSERVATIONAL: the mean activation of rows with both less the sum of the margins, zeros included, by "
        f"least squares adjusted for {seen[0].words}; p corrected by Holm over {len(rows)} pairs; effect: over the "
        "standard deviation of the rows. A verdict was chosen on one half of the rows and confirmed on the other.",
    )
    observed_table(findings, designs, seen, pair_names)
    findings.add(n_pairs=len(rows))
    for design, one in zip(designs, seen, strict=True):
        if one.sign:
            more = "more" if one.sign > 0 else "less"
            findings.claim(
                f"rows with {pair_label(design)} have {more} of feature {spec.feature_id} than the sum of the two "
                f"margins (associated, {one.value:+.3g} of the activation, adjusted)"
            )
