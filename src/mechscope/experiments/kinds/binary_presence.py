"""What each binary does to the feature (toggled in contexts where both are legal), or what goes with it in the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from mechscope.core import Spec, UsageError, UserError, derive_seed, unknown_name
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.changing.cells import CELL_COLUMNS
from mechscope.experiments.changing.changes import Change, Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.corpus_means import CORPUS_COLUMNS, corpus_means
from mechscope.experiments.changing.responses import measure
from mechscope.experiments.changing.selecting import ALPHA, confirm, with_halves
from mechscope.experiments.changing.wording import said_of_cell
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.dots import DotSeries, dots_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.binary_contrasts import BinaryContrast, observe_binaries
from mechscope.experiments.observing.levels import disagreement, rows_holding_constant
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.tables import ResultTable
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure

__all__ = ["BinaryPresence", "BinaryVariables"]

OBSERVED_COLUMNS = ("binary", "mean_present", "mean_absent", *CELL_COLUMNS, "crude", "crude_low", "crude_high",
                    "confirmed", "adjusted_for")  # fmt: skip


class BinaryVariables(Spec):
    """The variables of binary presence.

    Attributes:
        tokens: binaries to look at; all of the domain by default, but for those that are held.
        stable_tokens: binaries, rungs and tokens that every row or context has.
        stable_groups: group or attribute -> name that every one has; stable_weapon is short for the weapon.
        confounders: what the observed difference is adjusted for; by default the weapon, families and other binaries.
        min_effect: least effect that counts, as a share of the feature's effective maximum.
        observed_beside: show what the rows say beside the intervention.
    """

    tokens: tuple[str, ...] = ()
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


@EXPERIMENTS.register("binary_presence")
class BinaryPresence(ExperimentKind):
    """Binaries there or not."""

    name = "binary_presence"
    aliases = ("binary",)
    title = "Each binary there or not"
    variables = BinaryVariables
    modes = (CAUSAL, OBSERVED)
    alternatives = (
        "the binary goes with a weapon (or another group) that is what the feature follows",
        "players who take the binary tend to take other abilities too, and those are what the feature follows",
        "the binary and the feature both follow the style of the build as a whole",
    )

    def run(
        self, spec: ExperimentSpec, variables: BinaryVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure every binary in the spec's mode."""
        held = parse_held(
            context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=variables.groups_held
        )
        maximum = float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
        presence = _Presence(spec, variables, context, findings, held, variables.min_effect * maximum)
        presence.names = _names(variables, context, held)
        findings.add(min_effect=presence.least, held=held.words)
        if spec.mode == CAUSAL:
            presence.toggle()
        else:
            presence.compare()

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The change with each binary, largest first; what the rows say beside it where it was measured."""
        main = result.tables["binary_presence"]
        known = [row for row in main.rows if row.get("mean_delta") is not None]
        order = [str(row["binary"]) for row in sorted(known, key=lambda row: -_number(row["mean_delta"]))]
        said = "adjusted, observed" if result.evidence == OBSERVED else "intervention"
        series = [DotSeries(said, main.rows, "mean_delta", "low", "high")]
        if result.evidence == CAUSAL and "observed_binaries" in result.tables:
            beside = result.tables["observed_binaries"].rows
            series.append(DotSeries("observed, adjusted", beside, "mean_delta", "low", "high"))
        return {
            "binaries": dots_figure(
                series,
                row_name="binary",
                order=order,
                title=f"Binaries and feature {result.feature_id}",
                caption="Activation with the binary minus without it, 95 % intervals, largest first.",
                value_title="change of activation",
            )
        }


def _number(value: Any) -> float:
    return float(value)


def _names(variables: BinaryVariables, context: ExperimentContext, held: Held) -> list[str]:
    """The binaries looked at. Raises NotFoundError or UsageError."""
    known = {name.lower(): name for name in context.domain.binaries}
    for name in variables.tokens:
        if name.strip().lower() not in known:
            raise unknown_name("binary", name, context.domain.binaries)
    asked = [known[name.strip().lower()] for name in dict.fromkeys(variables.tokens)]
    for name in asked:
        held.change.joined(Change(name, binaries={name: True}))  # what is held may not be what varies
    names = asked or [name for name in context.domain.binaries if name not in held.change.binaries]
    if not names:
        raise UsageError(
            f"the domain {context.domain.name!r} has no binaries to look at",
            expected="a domain with binaries that are not all held",
            todo="take another type, or declare binaries (docs/domains.md)",
        )
    return names


class _Presence:
    """One measurement at work."""

    names: list[str]

    def __init__(
        self,
        spec: ExperimentSpec,
        variables: BinaryVariables,
        context: ExperimentContext,
        findings: Findings,
        held: Held,
        least: float,
    ) -> None:
        self.spec, self.variables, self.context, self.findings = spec, variables, context, findings
        self.held, self.least = held, least
        self.where = f" on contexts with {held.words}" if held.words else ""

    def toggle(self) -> None:
        """Bring each binary in, and take it away."""
        spec, findings, names = self.spec, self.findings, self.names
        changes = [Change(f"{name} {on}", binaries={name: on}) for on in (True, False) for name in names]
        bases = draw_bases(spec, self.context, findings, held=self.held)
        constraints = Constraints(spec.constraints, self.context, findings)
        responses = measure(self.context, spec.feature_id, bases, changes, constraints)
        constraints.floor(responses.values, touches_group=bool(self.held.change.groups))
        there, absent = responses.values[:, : len(names)], responses.values[:, len(names) :]
        deltas = there - absent
        findings.n_contexts_tested = int((~np.isnan(deltas)).any(axis=1).sum())
        cells, selecting = with_halves(deltas, bases, seed=derive_seed(spec.seed, "binaries"))
        findings.n_comparisons = cells.n_tested
        corpus = corpus_means(deltas, bases, seed=derive_seed(spec.seed, "corpus"))
        rows: list[dict[str, Any]] = []
        for at, name in enumerate(names):
            both = ~np.isnan(deltas[:, at])
            means = {
                "mean_present": there[both, at].mean() if both.any() else None,
                "mean_absent": absent[both, at].mean() if both.any() else None,
            }
            rows.append({"binary": name, **means, **cells.row(at), **corpus[at]})
            if not (selecting.p_corrected[at] < ALPHA and abs(selecting.mean[at]) >= self.least):
                continue
            sign = float(np.sign(selecting.mean[at]))
            seed = derive_seed(spec.seed, f"confirm {name}")
            if confirm(deltas[:, at], bases, sign=sign, min_effect=self.least, seed=seed).holds:
                word = "raises" if sign > 0 else "lowers"
                size = said_of_cell(rows[-1], sign=sign)
                findings.claim(f"{name} {word} feature {spec.feature_id}{self.where} {size}")
        findings.table(
            "binary_presence",
            ("binary", "mean_present", "mean_absent", *CELL_COLUMNS, *CORPUS_COLUMNS),
            rows,
            caption="Paired change of the activation when the binary is brought in, on base contexts where it may be "
            f"there and may be absent. 95 % cluster bootstrap; p: sign-flip, max-T over {cells.n_tested} binaries; "
            "effect: d_z. corpus_: weighted to the rows of the slice.",
        )
        self._write_top(rows)
        if self.variables.observed_beside:
            self._hold_against_rows()

    def compare(self) -> None:
        """Hold rows with each binary against rows without it."""
        findings = self.findings
        contrasts, rows = self._observed("binary_presence")
        findings.n_comparisons = sum(np.isfinite(row["p_corrected"]) for row in rows)
        for contrast, row in zip(contrasts, rows, strict=True):
            if row["confirmed"] and row["p_corrected"] < ALPHA:
                findings.claim(
                    f"rows with {contrast.name} have another activation of feature {self.spec.feature_id} than rows "
                    f"without{self.where}, {said_of_cell(row, of='rows with it')}, adjusted for "
                    f"{_some(contrast.observed.words)} (associated)"
                )
        self._write_top(rows)

    def _observed(self, table: str) -> tuple[list[BinaryContrast], list[dict[str, Any]]]:
        """Contrasts of the rows, and their table. Beside an intervention its own counts stand."""
        is_main = self.spec.mode == OBSERVED
        findings = self.findings if is_main else Findings()
        found = slice_rows(self.spec, self.context, findings, should_sample=is_main)
        if self.held.words:
            found = rows_holding_constant(found, self.context, self.held)
            findings.rows[f"after holding {self.held.words}"] = len(found)
        findings.n_contexts_tested = len(found)
        contrasts = observe_binaries(
            found,
            self.context,
            findings,
            names=self.names,
            held=self.held,
            confounders=self.variables.confounders,
            seed=derive_seed(self.spec.seed, "observed"),
        )
        if not contrasts:
            raise UsageError(
                f"none of {', '.join(self.names[:5])} is in 5 of the {len(found):,} rows and absent from 5",
                expected="a binary with 5 rows with it and 5 without",
                todo="widen the slice, or hold less constant",
            )
        rows = [
            {
                **contrast.row(),
                "confirmed": contrast.observed.confirmed_threshold(self.least) is not None,
                "adjusted_for": contrast.observed.words,
            }
            for contrast in contrasts
        ]
        self.findings.table(
            table,
            OBSERVED_COLUMNS,
            rows,
            caption="OBSERVATIONAL: rows with the binary against rows without, zeros included; mean_delta: adjusted; "
            f"p: of that, max-T over {len(rows)} binaries; effect: Cohen's d of the crude one; confirmed: by the other "
            "half of the rows.",
        )
        return contrasts, rows

    def _hold_against_rows(self) -> None:
        """What the rows say, as far as there are enough, and where they and the intervention differ."""
        findings = self.findings
        try:
            contrasts, _ = self._observed("observed_binaries")
        except UserError as reason:
            findings.warn(f"nothing observed beside it: {reason.seen}")
            return
        caused = {str(row["binary"]): row for row in findings.tables["binary_presence"].rows}
        for contrast in contrasts:
            columns = (*CORPUS_COLUMNS, "p_corrected")
            ends = {name: caused[contrast.name][name] for name in columns}
            alone = ResultTable(name="one", columns=columns, rows=(ends,))
            for text in disagreement(contrast.observed, alone, min_effect=self.least):
                findings.find(f"{contrast.name}: {text.replace(' at 1 (', ' (')}")

    def _write_top(self, rows: Sequence[Mapping[str, Any]]) -> None:
        known = [row for row in rows if row["mean_delta"] is not None and np.isfinite(row["mean_delta"])]
        deltas = np.array([row["mean_delta"] for row in known], float)
        if not len(deltas):
            self.findings.warn("no binary could be measured")
            return
        top = known[int(np.argmax(np.abs(deltas)))]
        spread = float(deltas.std(ddof=1)) if len(deltas) > 1 else None
        n = self.findings.n_contexts_tested
        self.findings.aggregate(mean_delta=float(deltas.mean()), std_delta=spread, n_samples=n)
        self.findings.add(top_binary=top["binary"], top_binary_delta=top["mean_delta"])


def _some(words: str, most: int = 3) -> str:
    """The first confounders by name and how many more; the table names them all."""
    names = words.split(", ")
    return words if len(names) <= most + 1 else f"{', '.join(names[:most])} and {len(names) - most} more"
