"""Two sets of rows, by the values of one column, held against each other.

Observational: mean, AUROC, Cliff's delta and share active of the rows of either side, crude, within strata and by
regression (see `contrasting`). Interventional, for a group that the domain can set and for what such a group decides:
the same base contexts under the names of either side. A column that the corpus declares a nuisance is no input of the
model, so that setting it leaves the model's input, and the feature, as they are: that effect is zero by construction,
and is said to be so; what the rows show beside it then comes by something that goes along with the column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from mechscope.core import Spec, UsageError, derive_seed, numpy_generator
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.base_contexts import Bases, draw_bases
from mechscope.experiments.changing.cells import CELL_COLUMNS
from mechscope.experiments.changing.changes import Change, Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.responses import measure
from mechscope.experiments.changing.selecting import ALPHA, confirm, with_halves
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.curves import curves_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.groups.conditions import group_column
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.observed_contrast import ObservedContrast, excludes_zero, observe_contrast
from mechscope.experiments.observing.row_sets import RowSets, named_column, row_sets
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure
from mechscope.stats import bootstrap_mean

__all__ = ["GroupContrast", "GroupContrastVariables"]

BASES, MOST_NAMES = 100, 12
CORPUS_COLUMNS = ("corpus_delta", "corpus_low", "corpus_high")


class GroupContrastVariables(Spec):
    """The variables of a contrast.

    Attributes:
        column: a group, attribute, nuisance or other column of the corpus, a concept, a family or a binary; by default
            the group that the domain describes.
        first, second: names of the column, lists or joined by commas. Without `first` the commonest name, or
            "present"; without `second` every other name.
        stable_tokens: tokens, binaries and rungs that every row or context has.
        confounders: what the observed difference is adjusted for; by default the weapon, the families and the binaries.
        min_effect: least difference that counts, as a share of the feature's effective maximum.
    """

    column: str | None = None
    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    stable_tokens: tuple[str, ...] = ()
    confounders: tuple[str, ...] | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)

    @field_validator("first", "second", mode="before")
    @classmethod
    def _commas_part_names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


@EXPERIMENTS.register("group_contrast")
class GroupContrast(ExperimentKind):
    """One set of rows against another."""

    name = "group_contrast"
    title = "Two sets of rows held against each other"
    variables = GroupContrastVariables
    modes = (OBSERVED, CAUSAL)
    alternatives = (
        "rows of one side have other tokens or another weapon, and those are what the feature follows",
        "both the column and the feature follow the style of the build as a whole",
        "who is on which side was not left to chance: confounders that are not named here are not adjusted for",
    )

    def run(
        self, spec: ExperimentSpec, variables: GroupContrastVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Contrast in the spec's mode."""
        name = variables.column or group_column(context, None)
        column = named_column(context, name)
        sets = row_sets(context, column, variables.first, variables.second, context.rows_in_store)
        least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
        findings.add(
            column=column.name, column_kind=column.kind, first=sets.first,
            second=sets.words[1] if sets.rest else sets.second, min_effect=least, is_zero_by_construction=False,
        )  # fmt: skip
        held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens)
        contrast = _Contrast(spec, variables, context, findings, sets, held, least)
        if spec.mode == OBSERVED:
            contrast.observe()
        else:
            contrast.intervene()

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The differences of means with their intervals."""
        curves = []
        for name, said in (("contrast", str(result.evidence)), ("observed_contrast", "observational")):
            if name in result.tables:
                table, value = result.tables[name], "value" if "value" in result.tables[name].columns else "mean_delta"
                shown = [row for row in table.rows if str(row["estimate"]).startswith("mean difference")]
                curves.append((said, table.updated(rows=tuple(shown)), value, "low", "high"))
        custom = result.aggregates.custom
        said = f"Feature {result.feature_id}: first less second, 95 % intervals."
        title = f"{custom.get('column')}: two sets of rows"
        figure = curves_figure(curves, x="estimate", title=title, caption=said, value_title="difference")
        return {"contrast": figure}


class _Contrast:
    """One contrast at work."""

    def __init__(
        self,
        spec: ExperimentSpec,
        variables: GroupContrastVariables,
        context: ExperimentContext,
        findings: Findings,
        sets: RowSets,
        held: Held,
        least: float,
    ) -> None:
        self.spec, self.variables, self.context, self.findings = spec, variables, context, findings
        self.sets, self.held, self.least = sets, held, least
        self.seed = derive_seed(spec.seed, "group contrast", sets.column.name)

    def observe(self) -> None:
        crude, adjusted, holds = self._observed(self.findings, "contrast", should_sample=True)
        findings, (first, second) = self.findings, self.sets.words
        findings.aggregate(mean_delta=crude["value"], n_samples=findings.n_contexts_tested)
        if not (crude["p"] < ALPHA and abs(crude["value"]) >= self.least and holds):
            return
        more = "higher" if crude["value"] > 0 else "lower"
        also = ""
        if adjusted is not None:
            also = f"; adjusted {adjusted['value']:+.3g} [{adjusted['low']:+.3g}, {adjusted['high']:+.3g}]"
        findings.claim(
            f"rows with {first} have a {more} mean activation of feature {self.spec.feature_id} than rows with "
            f"{second}, by {crude['value']:+.3g} [{crude['low']:+.3g}, {crude['high']:+.3g}]{also} (associated)"
        )

    def _observed(self, findings: Findings, table: str, *, should_sample: bool) -> ObservedContrast:
        return observe_contrast(
            self.spec, self.context, findings, self.sets, self.held, table=table, should_sample=should_sample,
            confounders=self.variables.confounders, seed=self.seed,
        )  # fmt: skip

    def intervene(self) -> None:
        sets, findings, column = self.sets, self.findings, self.sets.column
        if column.decided_by is None and not column.is_inert:
            raise UsageError(
                f"{column.name} ({column.kind}) is nothing that the domain can set as a group",
                expected=", ".join([*self.context.domain.settable_groups, "what a group decides, or a nuisance"]),
                todo='use the mode "observational"; family_1d_sweep and binary_presence change families and binaries',
            )
        bases = draw_bases(self.spec, self.context, findings, held=self.held, n_bases=BASES)
        if column.is_inert:
            sides: list[list[Change]] = [[Change(said)] for said in sets.words]
            findings.add(is_zero_by_construction=True)
            findings.note(
                f"{column.name} is no input of the model and none is made from it (the corpus declares it a nuisance): "
                "setting it leaves the model's input as it is, so that the effect is zero by construction"
            )
        else:
            sides = [self._changes(names) for names in (sets.first, sets.second)]
        deltas, is_withheld = self._deltas(bases, sides)
        cells, selecting = with_halves(deltas[:, None], bases, seed=derive_seed(self.seed, "cells"))
        row = {"estimate": "mean difference, set", **cells.row(0)}
        measured = ~np.isnan(deltas)
        if measured.any() and cells.n_tested:
            weighted = bootstrap_mean(
                deltas[measured], seed=derive_seed(self.seed, "corpus"), clusters=bases.clusters[measured],
                weights=bases.weights[measured],
            )  # fmt: skip
            row |= dict(zip(CORPUS_COLUMNS, (weighted.value, weighted.low, weighted.high), strict=True))
        how = "zero by construction" if column.is_inert else f"{column.decided_by} set in the same base contexts"
        findings.table(
            "contrast", ("estimate", *CELL_COLUMNS, *CORPUS_COLUMNS), [row],
            caption=f"{sets.words[0]} less {sets.words[1]}, {how}; 95 % cluster bootstrap; p: sign-flip; effect: d_z; "
            "corpus_: weighted to the rows of the slice.",
        )  # fmt: skip
        findings.n_comparisons = cells.n_tested
        spread = float(np.nanstd(deltas, ddof=1)) if measured.sum() > 1 else None
        findings.aggregate(mean_delta=float(cells.mean[0]), std_delta=spread, n_samples=int(measured.sum()))
        self._claim(deltas, bases, float(cells.mean[0]), selecting.p_corrected[0], selecting.mean[0], is_withheld)
        self._hold_against_rows(row)

    def _changes(self, names: Sequence[str]) -> list[Change]:
        """The settings of the group that stand for a side; some of them where there are many."""
        column, base = self.sets.column, str(self.sets.column.decided_by)
        of_base, index = self.context.group_codes(base)
        here = of_base[np.bincount(index[column.rows_named(names)], minlength=len(of_base)) > 0]
        known = [name for name in here.tolist() if name in self.context.domain.groups[base]]
        if len(known) > MOST_NAMES:
            chosen = numpy_generator(self.seed, "names").choice(len(known), MOST_NAMES, replace=False)
            self.findings.note(f"{MOST_NAMES} of {len(known)} {base}s of a side were set, drawn at random")
            known = [known[at] for at in sorted(chosen.tolist())]
        return [Change(name, groups={base: name}) for name in known]

    def _deltas(self, bases: Bases, sides: list[list[Change]]) -> tuple[np.ndarray, bool]:
        constraints = Constraints(self.spec.constraints, self.context, self.findings)
        responses = measure(self.context, self.spec.feature_id, bases, [*sides[0], *sides[1]], constraints)
        is_withheld = constraints.floor(responses.values, touches_group=True)
        split = len(sides[0])
        deltas = responses.values[:, :split].mean(axis=1) - responses.values[:, split:].mean(axis=1)
        self.findings.n_contexts_tested = int((~np.isnan(deltas)).sum())
        self.findings.drop("base context that some name could not take", int(np.isnan(deltas).sum()))
        return deltas, is_withheld

    def _claim(
        self, deltas: np.ndarray, bases: Bases, mean: float, p: float, selecting: float, is_withheld: bool
    ) -> None:
        if is_withheld or not (p < ALPHA and abs(selecting) >= self.least):
            return
        sign = float(np.sign(selecting))
        told = confirm(deltas, bases, sign=sign, min_effect=self.least, seed=derive_seed(self.seed, "confirm"))
        if told.holds:
            word, (first, second) = "raises" if sign > 0 else "lowers", self.sets.words
            base = self.sets.column.decided_by
            by = "" if base == self.sets.column.name else f" (through the {base}, which decides it)"
            self.findings.claim(
                f"setting {first}{by} {word} feature {self.spec.feature_id} by {abs(mean):.3g} against {second}"
            )

    def _hold_against_rows(self, done: Mapping[str, Any]) -> None:
        """The observed contrast beside the intervention, and where they differ."""
        findings, column = self.findings, self.sets.column
        try:
            crude, adjusted, _ = self._observed(findings, "observed_contrast", should_sample=False)
        except UsageError as reason:
            findings.warn(f"no observed contrast beside it: {reason.seen}")
            return
        seen = f"{crude['value']:+.3g} [{crude['low']:+.3g}, {crude['high']:+.3g}]"
        first, second = self.sets.words
        if column.is_inert and excludes_zero(crude):
            findings.find(
                f"rows with {first} differ from rows with {second} by {seen}, and setting {column.name} changes "
                f"nothing, by construction: the association is not caused through the model by {column.name}; it "
                "comes by what goes along with it and the model is given (tokens, weapon), which this contrast does "
                "not tell apart"
            )
            if adjusted is not None and excludes_zero(adjusted):
                findings.note(
                    f"the feature is a function of the model's input alone, so that the {adjusted['value']:+.3g} left "
                    "after adjustment is what least squares in tokens and weapon does not take out"
                )
        elif not column.is_inert and done["low"] is not None and np.isfinite(done["low"]):
            if excludes_zero(crude) and not excludes_zero(done):
                findings.find(
                    f"rows differ ({seen}) though setting {column.name} changes nothing that could be measured"
                )
            elif excludes_zero(crude) and np.sign(crude["value"]) != np.sign(done["mean_delta"]):
                findings.find(f"rows differ ({seen}) in the direction opposite to the intervention")
