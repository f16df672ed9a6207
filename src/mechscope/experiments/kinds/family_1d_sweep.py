"""One family over its rungs: what each rung does to the feature, and what goes with it in the corpus.

Interventional: base contexts are real rows; in each the family is set to absent and to every rung, everything else
kept, illegal results left out. A rung's delta is the mean paired difference to absent (to the lowest rung without
`include_absent`). Observational: rows are grouped by the rung they have; zeros are part of every mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from mechscope.core import Spec, UsageError, UserError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.corpora.domain import Family, settle_rungs
from mechscope.experiments.changing.base_contexts import Bases, draw_bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW, PairedCells
from mechscope.experiments.changing.changes import Change, Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.corpus_means import CORPUS_COLUMNS, corpus_means
from mechscope.experiments.changing.lasting import listed, said_rungs, signed_rungs
from mechscope.experiments.changing.responses import Responses, measure
from mechscope.experiments.changing.selecting import ALPHA, Confirmation, confirm_cells, moving_cells, with_halves
from mechscope.experiments.changing.wording import said_of_cell
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.curves import curves_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.confounders import find_family
from mechscope.experiments.observing.levels import ObservedLevels, disagreement, observe_levels, rows_holding_constant
from mechscope.experiments.observing.slicing import Slice, slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure

__all__ = ["Family1dSweep", "Family1dVariables"]

HELD_OUT_COLUMNS = ("selected", "rung", "selecting_delta", "selecting_p_corrected", "held_out_delta", "held_out_n",
                    "held_out_p", "held_out_flag", "holds")  # fmt: skip
Rows = Sequence[Mapping[str, Any]]


class Family1dVariables(Spec):
    """The variables of a sweep over one family.

    Attributes:
        family: name or short name.
        rungs: which, all of the family by default; a value between two rungs stands for the one below it.
        include_absent: hold the rungs against the family's absence; else against the lowest rung.
        stable_tokens: binaries, rungs ("special_charge_up_12") and tokens that every condition has.
        stable_groups: group or attribute -> name that every condition has; stable_weapon is short for the weapon.
        confounders: what the observed curve is adjusted for; by default the weapon, all other families and binaries.
        min_effect: least effect that counts, as a share of the feature's effective maximum.
        observed_beside: show the observed curve beside the interventional one.
    """

    family: str
    rungs: tuple[int, ...] = ()
    include_absent: bool = True
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}
    stable_weapon: str | None = None
    confounders: tuple[str, ...] | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)
    observed_beside: bool = True

    @property
    def groups_held(self) -> dict[str, str]:
        """`stable_groups` with the weapon in it."""
        return self.stable_groups | ({} if self.stable_weapon is None else {"weapon": self.stable_weapon})


@EXPERIMENTS.register("family_1d_sweep")
class Family1dSweep(ExperimentKind):
    """One family over its rungs."""

    name = "family_1d_sweep"
    aliases = ("family_sweep",)
    title = "One family over its rungs"
    variables = Family1dVariables
    modes = (CAUSAL, OBSERVED)
    alternatives = (
        "the rung goes with a weapon (or another group) that is what the feature follows",
        "players who take the rung tend to take other abilities too, and those are what the feature follows",
        "the rung and the feature both follow the style of the build as a whole",
    )

    def run(
        self, spec: ExperimentSpec, variables: Family1dVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure the sweep in the spec's mode."""
        family = find_family(context.domain, variables.family)
        settled = settle_rungs(family, variables.rungs, snap=True)
        for note in settled.notes:
            findings.warn(note)
        rungs = sorted(rung for rung in settled.rungs if rung)
        reference = 0 if variables.include_absent or 0 in settled.rungs else rungs[0]
        rungs = [rung for rung in rungs if rung != reference]
        held = parse_held(
            context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=variables.groups_held
        )
        sweep = _Sweep(spec, variables, context, findings, family, tuple(rungs), reference, held)
        if spec.mode == OBSERVED:
            sweep.observe()
        else:
            sweep.intervene()

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The curve with its intervals; the observed one beside it where it was measured."""
        curves = []
        if "rung_deltas" in result.tables:
            curves.append((str(result.evidence), result.tables["rung_deltas"], "mean_delta", "low", "high"))
        if "observed_rungs" in result.tables and result.evidence == CAUSAL:
            observed = result.tables["observed_rungs"]
            curves.append(("observed, adjusted", observed, "adjusted", "adjusted_low", "adjusted_high"))
            curves.append(("observed, crude", observed, "crude", "crude_low", "crude_high"))
        said = f"Feature {result.feature_id}; change of the activation against the reference, 95 % intervals."
        title = f"{result.aggregates.custom.get('family', 'family')} over its rungs"
        figure = curves_figure(curves, x="rung", title=title, caption=said, value_title="change of activation")
        return {"rung_curve": figure}


class _Sweep:
    """One sweep at work."""

    def __init__(
        self,
        spec: ExperimentSpec,
        variables: Family1dVariables,
        context: ExperimentContext,
        findings: Findings,
        family: Family,
        rungs: tuple[int, ...],
        reference: int,
        held: Held,
    ) -> None:
        self.spec, self.variables, self.context, self.findings = spec, variables, context, findings
        self.family, self.held = family, held
        stats = context.inputs.store.stats(spec.feature_id)
        self.min_effect = variables.min_effect * float(stats.effective_maximum or 1.0)
        held.change.joined(Change(family.name, rungs={family.name: reference}))  # what is held may not be what varies
        findings.add(family=family.name, min_effect=self.min_effect, held=held.words)
        self.refer_to(reference, rungs)

    def refer_to(self, reference: int, rungs: tuple[int, ...]) -> None:
        """Hold `rungs` against `reference`. Raises UsageError when there is no rung left."""
        if not rungs:
            raise UsageError(
                f"a sweep of {self.family.name} over rung {reference} alone",
                expected="a rung besides the reference",
                todo="give more rungs, or include_absent",
            )
        self.reference, self.rungs = reference, rungs
        self.findings.add(reference_rung=reference)

    def seed(self, name: str) -> int:
        return derive_seed(self.spec.seed, self.family.name, name)

    def intervene(self) -> None:
        findings = self.findings
        bases = draw_bases(self.spec, self.context, findings, held=self.held)
        if self.reference == 0 and not self._can_be_absent(bases):
            self._lowest_instead(self.rungs[0])
        constraints = Constraints(self.spec.constraints, self.context, findings)
        changes = [Change(str(rung), rungs={self.family.name: rung}) for rung in (self.reference, *self.rungs)]
        responses = measure(self.context, self.spec.feature_id, bases, changes, constraints)
        findings.n_contexts_tested = int((~np.isnan(responses.values[:, 1:]).all(axis=1)).sum())
        is_withheld = constraints.floor(responses.values, touches_group=bool(self.held.change.groups))
        self._write_means(responses)
        deltas = responses.deltas(0)[:, 1:]
        if np.isnan(deltas).all():
            reasons = sorted(findings.dropped.items(), key=lambda item: -item[1])
            raise UsageError(
                f"no base context can have {self.family.name} both at {self.reference} and at another rung asked for",
                expected="rungs that fit beside what the base contexts hold",
                todo=f"ask for other rungs, or another slice (most often: {reasons[0][0]})",
            )
        self._write_cells(deltas, bases, responses, is_withheld=is_withheld)
        if self.variables.observed_beside:
            self._hold_against_rows()

    def _can_be_absent(self, bases: Bases) -> bool:
        """Whether enough base contexts can do without the family, and can have it (a text without its words cannot)."""
        ends = [Change("end", rungs={self.family.name: rung}) for rung in (0, self.rungs[0])]
        n_legal = 0
        for base in bases.contexts:
            try:
                for end in ends:
                    end.apply(self.context.domain, base)
            except UsageError:
                continue
            n_legal += 1
            if n_legal >= FEW:
                return True
        return False

    def _lowest_instead(self, lowest: int) -> None:
        self.findings.warn(
            f"{self.family.name} is absent in too few contexts here: its rungs are held against rung {lowest}"
        )
        self.refer_to(lowest, tuple(rung for rung in self.rungs if rung > lowest))

    def _hold_against_rows(self) -> None:
        """The observed curve beside the interventional one, as far as there are rows for it, and where they differ."""
        findings = self.findings
        try:
            observed = self._observed()
        except UserError as reason:
            findings.warn(f"no observed curve beside it: {reason.seen}")
        else:
            for text in disagreement(observed, findings.tables["rung_deltas"], min_effect=self.min_effect):
                findings.find(f"{self.family.name}: {text}")

    def _write_means(self, responses: Responses) -> None:
        rows = []
        for index, rung in enumerate((self.reference, *self.rungs)):
            values = responses.values[:, index][~np.isnan(responses.values[:, index])]
            mean = float(values.mean()) if len(values) else None
            rows.append({"rung": rung, "mean": mean, "n": len(values), "n_illegal": int(responses.n_refused[index])})
        self.findings.table(
            "rung_activations",
            ("rung", "mean", "n", "n_illegal"),
            rows,
            caption="Mean activation at each rung (0: absent) over the base contexts where it is legal.",
        )

    def _write_cells(self, deltas: np.ndarray, bases: Bases, responses: Responses, *, is_withheld: bool) -> None:
        findings = self.findings
        cells, selecting = with_halves(deltas, bases, seed=self.seed("cells"))
        findings.n_comparisons = cells.n_tested
        corpus = corpus_means(deltas, bases, seed=self.seed("cells"))
        rows = [{"rung": rung, **cells.row(index), **corpus[index]} for index, rung in enumerate(self.rungs)]
        findings.table(
            "rung_deltas",
            ("rung", *CELL_COLUMNS, *CORPUS_COLUMNS),
            rows,
            caption=f"Paired change of the activation against rung {self.reference} (0: absent). Intervals: 95 %, "
            f"cluster bootstrap; p: sign-flip, corrected by max-T over {cells.n_tested} rungs; effect: d_z. "
            "corpus_: weighted to the rows of the slice.",
        )
        each = np.nanmean(deltas[~np.isnan(deltas).all(axis=1)], axis=1)
        spread = float(each.std(ddof=1)) if len(each) > 1 else None
        findings.aggregate(mean_delta=float(each.mean()) if len(each) else None, std_delta=spread, n_samples=len(each))
        n_fewest, n_most = int(cells.n.min()), int(cells.n.max())
        if n_fewest < 0.5 * n_most:
            findings.warn(
                f"the rungs were measured on different base contexts ({n_fewest} to {n_most}): a high rung fits only "
                "where there is room, so compare rungs by rows that have both"
            )
        self._select(deltas, bases, rows, selecting, is_withheld=is_withheld)

    def _select(
        self, deltas: np.ndarray, bases: Bases, rows: Rows, selecting: PairedCells, *, is_withheld: bool
    ) -> None:
        """Threshold and largest change, chosen on one half of the base contexts and confirmed on the other."""
        moving = moving_cells(selecting, min_effect=self.min_effect)
        signs = np.sign(selecting.mean)
        told = confirm_cells(
            deltas[:, moving], bases, signs=signs[moving], min_effect=self.min_effect, seed=self.seed("confirm")
        )
        held = [at for at, one in zip(moving, told, strict=True) if one.holds]
        of_sign = {sign: [at for at in held if signs[at] == sign] for sign in (1, -1)}
        top = self._headline(rows, held, of_sign)
        picked = {of_sign[int(signs[top])][0]: "threshold", top: "largest"} if held and top is not None else {}
        self._write_held_out(moving, told, selecting, picked)
        if not is_withheld:
            for sign, in_sign in of_sign.items():
                self._claim(rows, in_sign, sign)

    def _headline(self, rows: Rows, held: Sequence[int], of_sign: Mapping[int, list[int]]) -> int | None:
        """Write the aggregates; the index of the largest change: among the rungs that hold, else among all.

        Rungs of few contexts come into question only where there is no other.
        """
        top = _largest(rows, held or range(len(rows)))
        is_up = top is not None and rows[top]["mean_delta"] > 0
        in_sign = of_sign[1 if is_up else -1]
        acting = {sign: sorted({*of_sign[sign], *signed_rungs(rows, sign=sign)}) for sign in (1, -1)}
        self.findings.add(
            max_rung_delta=None if top is None else rows[top]["mean_delta"],
            max_delta_rung=None if top is None else self.rungs[top],
            max_rung_flag="" if top is None else rows[top]["flag"],
            threshold_rung=self.rungs[in_sign[0]] if in_sign else None,
            direction="none" if not held else "rises" if is_up else "falls",
            has_both_signs=all(acting.values()),
        )
        if all(acting.values()):
            self.findings.find(
                f"{self.family.name} has both signs: above rung {self.reference} at {listed(self.rungs, acting[1])}, "
                f"below it at {listed(self.rungs, acting[-1])}; `direction` is that of the largest change that holds"
            )
        return top

    def _write_held_out(
        self, moving: list[int], told: list[Confirmation], selecting: PairedCells, picked: Mapping[int, str]
    ) -> None:
        rows = [
            {
                "selected": picked.get(at, "moving"),
                "rung": self.rungs[at],
                "selecting_delta": selecting.mean[at],
                "selecting_p_corrected": selecting.p_corrected[at],
                "held_out_delta": found.mean,
                "held_out_n": found.n,
                "held_out_p": found.p,
                "held_out_flag": found.flag,
                "holds": found.holds,
            }
            for at, found in zip(moving, told, strict=True)
        ]
        self.findings.table(
            "held_out",
            HELD_OUT_COLUMNS,
            rows,
            caption="Rungs that move in one half of the base contexts, tested on the other; p corrected over them.",
        )
        self.findings.note(
            f"threshold_rung: the lowest rung whose corrected p is below {ALPHA} and whose mean change is at least "
            f"{self.min_effect:.3g} ({100 * self.variables.min_effect:g} % of the effective maximum) in one half of "
            "the base contexts, and which the other half confirms, in `direction`: that of max_rung_delta, the largest "
            'change of the rungs that hold so; "from rung R on": every higher rung of more than 20 contexts has an '
            "interval on that side of 0"
        )

    def _claim(self, rows: Rows, held: Sequence[int], sign: int) -> None:
        """Claim what the rungs that hold do in one direction, by the largest of them."""
        where = f" on contexts with {self.held.words}" if self.held.words else ""
        top = _largest(rows, held)
        if top is None:
            return
        self.findings.claim(
            f"setting {self.family.name} to {self.rungs[top]} {'raises' if sign > 0 else 'lowers'} feature "
            f"{self.spec.feature_id} against rung {self.reference}{where} {said_of_cell(rows[top], sign=sign)}; "
            f"{said_rungs(self.rungs, rows, held, sign=sign)}"
        )

    def observe(self) -> None:
        """The observed curve as the result itself: the cells are the adjusted contrasts."""
        if self.reference == 0:
            level = self.context.family_rungs(self.family.name)[self._rows().rows]
            counts = {rung: int((level == rung).sum()) for rung in (0, *self.rungs)}
            enough = [rung for rung, n in counts.items() if n >= FEW]
            if counts[0] < FEW and enough:
                self._lowest_instead(enough[0])
        observed = self._observed()
        rows = observed.as_cells()
        self.findings.table("rung_deltas", ("rung", *CELL_COLUMNS), rows, caption=f"Adjusted for {observed.words}.")
        self.findings.n_comparisons = sum(row["p"] is not None for row in rows)
        adjusted = observed.contrasts.adjusted
        known = ~np.isnan(adjusted)
        n = observed.contrasts.n
        mean = float(np.average(adjusted[known], weights=n[known])) if known.any() else None
        self.findings.aggregate(
            mean_delta=mean, std_delta=None, n_samples=int(n.sum()) + observed.contrasts.n_reference
        )
        self.findings.n_contexts_tested = int(n.sum()) + observed.contrasts.n_reference
        held = observed.confirmed_levels(self.min_effect)
        of_sign = {sign: [at for at in held if adjusted[at] * sign > 0] for sign in (1, -1)}
        self._headline(rows, held, of_sign)
        for sign, in_sign in of_sign.items():
            top = _largest(rows, in_sign)
            if top is not None:
                self.findings.claim(
                    f"{said_rungs(self.rungs, rows, in_sign, sign=sign)} of {self.family.name}, rows have another "
                    f"activation of feature {self.spec.feature_id} than at rung {self.reference}, at {self.rungs[top]} "
                    f"{said_of_cell(rows[top], of='rows')}, adjusted for {observed.words} (associated)"
                )

    def _rows(self) -> Slice:
        """The rows to regroup; beside an intervention its own counts stand, and no row is left to chance."""
        is_main = self.spec.mode == OBSERVED
        found = slice_rows(self.spec, self.context, self.findings if is_main else Findings(), should_sample=is_main)
        return rows_holding_constant(found, self.context, self.held)

    def _observed(self) -> ObservedLevels:
        context, findings = self.context, self.findings
        found = self._rows()
        observed = observe_levels(
            found,
            context.family_rungs(self.family.name)[found.rows],
            context,
            levels=self.rungs,
            reference=self.reference,
            leave_out=(self.family.name, *self.held.change.rungs, *self.held.change.binaries, *self.held.change.groups),
            confounders=self.variables.confounders,
            seed=self.seed("observed"),
        )
        findings.table("observed_rungs", ("rung", *observed.columns), observed.rows("rung"), caption=observed.caption)
        return observed


def _largest(rows: Rows, among: Sequence[int]) -> int | None:
    """The largest change in size among cells that were tested, those of more than 20 contexts first."""
    known = [at for at in among if rows[at]["p"] is not None and np.isfinite(rows[at]["p"])]
    enough = [at for at in known if not rows[at]["flag"]]
    return max(enough or known, key=lambda at: abs(rows[at]["mean_delta"]), default=None)
