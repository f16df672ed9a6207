"""Rungs of one family: does each add to the lower ones, does the feature saturate, do rungs take back what others gave?

Under cumulative coding a rung brings its lower ones, so what rung b does beside rung a is f(b) - f(a). Interventional:
each base context is set to every rung, all differences are paired. Observational: rows by the rung they have, adjusted.
Every pair of rungs is a cell: its increment (interference: it goes against the lower rung's own effect) and its bend
(`rungs.ladder`), each corrected by max-T over the pairs, chosen on one half and confirmed on the other. A lower rung's
token taken away from a higher one is no context of cumulative coding: a labelled probe, run when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field, field_validator

from mechscope.core import Spec, UsageError, UserError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.corpora.domain import Family
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW
from mechscope.experiments.changing.changes import Change, Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.responses import measure
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.curves import curves_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.confounders import find_family
from mechscope.experiments.observing.levels import rows_holding_constant
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.rungs import (
    STEP_COLUMNS,
    VERDICT_COLUMNS,
    ContrastRows,
    Ladder,
    LadderScale,
    ObservedLadder,
    conclude,
    disagreeing_pairs,
    observe_ladder,
    paired_rows,
    probe_lower_rungs,
    settle_ladder,
    weighted_sums,
)
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure

__all__ = ["WithinFamilyInterference", "WithinFamilyVariables"]

BASES = 300


class WithinFamilyVariables(Spec):
    """The variables of interference within a family.

    Attributes:
        family: name or short name.
        rungs: which, all of the family by default; a value between two rungs stands for the one below it, and is told.
        pairs: (lower, higher) rungs that are looked at; by default every pair of `rungs`.
        include_absent: count from the family's absence; else from the lowest rung.
        scale: of a bend: a "step" of the family's own ladder, or a "unit" of the rungs' numbers.
        probe_lower: also run contexts that the coding does not have (a higher rung without a lower one's token, or two
            rungs at once where there is one), as a labelled probe off the distribution that claims nothing.
        stable_tokens, stable_groups, stable_weapon: what every condition has, as in a sweep.
        confounders: what observed rows are adjusted for; by default the weapon, other families and binaries.
        min_effect: least effect that counts, as a share of the feature's effective maximum.
        observed_beside: show the observed pairs beside the intervention's.
    """

    family: str
    rungs: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    include_absent: bool = True
    scale: LadderScale = "step"
    probe_lower: bool = False
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}
    stable_weapon: str | None = None
    confounders: tuple[str, ...] | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)
    observed_beside: bool = True

    @field_validator("pairs")
    @classmethod
    def _lower_first(cls, value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if wrong := next((pair for pair in value if not 0 < pair[0] < pair[1]), None):
            raise ValueError(f"the pair {list(wrong)}: give the lower rung first, both above 0")
        return value


@EXPERIMENTS.register("within_family_interference")
class WithinFamilyInterference(ExperimentKind):
    """Increments, bends and reversals within one family."""

    name = "within_family_interference"
    aliases = ("interference",)
    title = "Whether the rungs of one family add up or interfere"
    variables = WithinFamilyVariables
    modes = (CAUSAL, OBSERVED)
    alternatives = (
        "high rungs go with other weapons (or groups) than low ones, and those are what the feature follows",
        "a high rung leaves less room for other abilities, and their absence is what the feature follows",
        "the rung and the feature both follow the style of the build as a whole",
    )

    def run(
        self, spec: ExperimentSpec, variables: WithinFamilyVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure every pair of rungs in the spec's mode."""
        family = find_family(context.domain, variables.family)
        ladder, notes = settle_ladder(
            family, variables.rungs, variables.pairs, scale=variables.scale, has_absent=variables.include_absent
        )
        for note in notes:
            findings.warn(note)
        groups = variables.stable_groups | (
            {} if variables.stable_weapon is None else {"weapon": variables.stable_weapon}
        )
        held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=groups)
        held.change.joined(Change(family.name, rungs={family.name: ladder.levels[1]}))  # held may not be what varies
        least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
        findings.add(family=family.name, scale=variables.scale, held=held.words, min_effect=least)
        asked = _Asked(spec, variables, context, findings, family, held, least)
        if spec.mode == OBSERVED:
            _observe(asked, ladder)
        else:
            _intervene(asked, ladder)

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The increment of each rung over the one below it."""
        curves = []
        if "steps" in result.tables:
            curves.append((str(result.evidence), result.tables["steps"], "mean_delta", "low", "high"))
        family = result.aggregates.custom.get("family", "family")
        said = f"Feature {result.feature_id}; what each rung adds to the one below it, 95 % intervals."
        figure = curves_figure(
            curves, x="higher", title=f"{family}: what each rung adds", caption=said, value_title="increment"
        )
        return {"increments": figure}


@dataclass(frozen=True)
class _Asked:
    """What was asked, of whom, and where it is written."""

    spec: ExperimentSpec
    variables: WithinFamilyVariables
    context: ExperimentContext
    findings: Findings
    family: Family
    held: Held
    least: float

    def seed(self, *names: str) -> int:
        return derive_seed(self.spec.seed, self.family.name, *names)


def _intervene(asked: _Asked, ladder: Ladder) -> None:
    spec, context, findings, family = asked.spec, asked.context, asked.findings, asked.family
    bases = draw_bases(spec, context, findings, held=asked.held, n_bases=BASES)
    constraints = Constraints(spec.constraints, context, findings)
    changes = [Change(str(level), rungs={family.name: level}) for level in ladder.levels]
    responses = measure(context, spec.feature_id, bases, changes, constraints, should_look_below=True)
    values, below = responses.values, responses.before_floor
    assert below is not None
    if ladder.reference == 0 and (~np.isnan(values[:, 0])).sum() < FEW:
        findings.warn(f"{family.name} is absent in too few contexts here: counted from rung {ladder.levels[1]}")
        ladder, values, below = ladder.without_reference(), values[:, 1:], below[:, 1:]
    is_withheld = constraints.floor(values, touches_group=bool(asked.held.change.groups))
    n_known = (~np.isnan(values)).sum(axis=0)
    means = [{"rung": level, "mean": _mean(values[:, at]), "n": n_known[at]} for at, level in enumerate(ladder.levels)]
    findings.table("rung_activations", ("rung", "mean", "n"), means, caption="Mean activation where the rung is legal.")
    increments = weighted_sums(values, ladder.increment_weights())
    bends, below = (weighted_sums(part, ladder.bend_weights()) for part in (values, below))
    if np.isnan(increments).all():
        raise UsageError(
            f"no base context can have two of the rungs {ladder.levels} of {family.name}",
            expected="rungs that fit beside what the base contexts hold",
            todo="ask for lower rungs, or another slice",
        )
    findings.n_contexts_tested = int((~np.isnan(increments).all(axis=1)).sum())
    _aggregate(increments[:, [ladder.increments.index(step) for step in ladder.steps]], findings)
    bent = paired_rows(bends, bases, least=asked.least, seed=asked.seed("bends"), below=below)
    steps = [np.where(np.isnan(bends), np.nan, weighted_sums(values, part)) for part in ladder.step_weights()]
    for at, row in enumerate(bent):
        row |= {name: _mean(part[:, at]) for name, part in zip(STEP_COLUMNS, steps, strict=True)}
    found = ContrastRows(
        ladder,
        paired_rows(increments, bases, least=asked.least, seed=asked.seed("increments")),
        bent,
    )
    findings.n_comparisons = sum(row["p"] == row["p"] for row in (*found.increments, *found.bends))
    conclude(spec, family.name, found, findings, is_withheld=is_withheld)
    if asked.variables.observed_beside:
        _hold_against_rows(asked, found)
    if asked.variables.probe_lower:
        probe_lower_rungs(
            context, findings, spec.feature_id, family, ladder.pairs, bases, constraints, seed=asked.seed("probe")
        )


def _observe(asked: _Asked, ladder: Ladder) -> None:
    findings = asked.findings
    found = _of_rows(asked, ladder, findings)
    findings.table(
        "observed_rungs", ("rung", *found.observed.columns), found.observed.rows("rung"), caption=found.observed.caption
    )
    findings.n_contexts_tested = found.n
    findings.n_comparisons = sum(row["p"] == row["p"] for row in (*found.increments, *found.bends))
    by_pair = dict(zip(found.ladder.increments, found.increments, strict=True))
    _aggregate(np.array([by_pair[step]["mean_delta"] for step in found.ladder.steps]), findings)
    for (lower, higher), row in zip(found.ladder.pairs, found.bends, strict=True):
        ends = by_pair[found.ladder.reference, lower], by_pair[lower, higher]
        sizes = zip(STEP_COLUMNS, ends, found.ladder.distances(lower, higher), strict=True)
        row |= {name: end["mean_delta"] / distance for name, end, distance in sizes}
    rows = ContrastRows(found.ladder, found.increments, found.bends, found.observed.words)
    conclude(asked.spec, asked.family.name, rows, findings)


def _of_rows(asked: _Asked, ladder: Ladder, findings: Findings) -> ObservedLadder:
    """The rows along the ladder; beside an intervention its own counts stand, and no row is left to chance."""
    is_main = asked.spec.mode == OBSERVED
    found = slice_rows(asked.spec, asked.context, findings if is_main else Findings(), should_sample=is_main)
    return observe_ladder(
        rows_holding_constant(found, asked.context, asked.held),
        asked.family.name,
        ladder,
        asked.context,
        findings,
        held=asked.held,
        confounders=asked.variables.confounders,
        least=asked.least,
        seed=asked.seed("observed"),
    )


def _hold_against_rows(asked: _Asked, caused: ContrastRows) -> None:
    """The observed increments beside the intervention's, as far as there are rows for them, and where they differ."""
    findings = asked.findings
    try:
        found = _of_rows(asked, caused.ladder, findings)
    except UserError as reason:
        findings.warn(f"no observed pairs beside it: {reason.seen}")
        return
    seen = dict(zip(found.ladder.increments, found.increments, strict=True))
    rows = [{"lower": lower, "higher": higher, **row} for (lower, higher), row in seen.items()]
    findings.table(
        "observed_pairs",
        ("lower", "higher", *CELL_COLUMNS, *VERDICT_COLUMNS),
        rows,
        caption=f"OBSERVATIONAL: rows at the higher rung less those at the lower, adjusted for {found.observed.words}.",
    )
    done = dict(zip(caused.ladder.increments, caused.increments, strict=True))
    for text in disagreeing_pairs(seen, done, least=asked.least):
        findings.find(f"{asked.family.name}: {text}")


def _aggregate(steps: np.ndarray, findings: Findings) -> None:
    """The mean step, over all contexts (or adjusted contrasts) and steps that were measured."""
    each = steps[~np.isnan(steps)]
    findings.aggregate(
        mean_delta=float(each.mean()) if len(each) else None,
        std_delta=float(each.std(ddof=1)) if len(each) > 1 else None,
        n_samples=findings.n_contexts_tested,
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
