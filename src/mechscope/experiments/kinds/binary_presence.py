"""What each binary does to the feature (toggled in contexts where both are legal), or what goes with it in the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from mechscope.core import Spec, UsageError, derive_seed, unknown_name
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.base_contexts import draw_bases
from mechscope.experiments.cells import CELL_COLUMNS, FEW
from mechscope.experiments.changes import Change, parse_held
from mechscope.experiments.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.group_conditions import held_rows
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing import observe_levels
from mechscope.experiments.responses import measure
from mechscope.experiments.selecting import ALPHA, confirm, with_halves
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.stats import holm

__all__ = ["BinaryPresence", "BinaryVariables"]

CRUDE_COLUMNS = ("crude", "crude_low", "crude_high")


class BinaryVariables(Spec):
    """The variables of binary presence.

    Attributes:
        tokens: binaries to look at; all of the domain by default.
        stable_tokens: binaries, rungs and tokens that every row or context has.
        confounders: what the observed difference is adjusted for; by default the weapon, families and other binaries.
        min_effect: least effect that counts, as a share of the feature's effective maximum.
    """

    tokens: tuple[str, ...] = ()
    stable_tokens: tuple[str, ...] = ()
    confounders: tuple[str, ...] | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)


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
        known = {name.lower(): name for name in context.domain.binaries}
        for name in variables.tokens:
            if name.lower() not in known:
                raise unknown_name("binary", name, context.domain.binaries)
        names = [known[name.lower()] for name in dict.fromkeys(variables.tokens)] or list(context.domain.binaries)
        if not names:
            raise UsageError("this subject has no binaries", expected="a domain with some", todo="use another type")
        maximum = float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
        least = variables.min_effect * maximum
        findings.add(min_effect=least)
        if spec.mode == CAUSAL:
            _toggle(spec, variables, context, findings, names, least)
        else:
            _compare(spec, variables, context, findings, names, least)


def _toggle(
    spec: ExperimentSpec,
    variables: BinaryVariables,
    context: ExperimentContext,
    findings: Findings,
    names: list[str],
    least: float,
) -> None:
    held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens)
    changes = [Change(f"{name} {on}", binaries={name: on}) for on in (True, False) for name in names]
    for change in changes:
        held.change.joined(change)  # what is held may not be what varies
    bases = draw_bases(spec, context, findings, held=held)
    responses = measure(
        context, spec.feature_id, bases, changes, constraints := Constraints(spec.constraints, context, findings)
    )
    constraints.floor(responses.values, touches_group=False)
    there, absent = responses.values[:, : len(names)], responses.values[:, len(names) :]
    deltas = there - absent
    findings.n_contexts_tested = int((~np.isnan(deltas)).any(axis=1).sum())
    cells, selecting = with_halves(deltas, bases, seed=derive_seed(spec.seed, "binaries"))
    findings.n_comparisons = cells.n_tested
    rows: list[dict[str, Any]] = []
    for at, name in enumerate(names):
        both = ~np.isnan(deltas[:, at])
        means = {
            "mean_present": there[both, at].mean() if both.any() else None,
            "mean_absent": absent[both, at].mean() if both.any() else None,
        }
        rows.append({"binary": name, **means, **cells.row(at)})
        if not (selecting.p_corrected[at] < ALPHA and abs(selecting.mean[at]) >= least):
            continue
        sign = float(np.sign(selecting.mean[at]))
        seed = derive_seed(spec.seed, f"confirm {name}")
        if confirm(deltas[:, at], bases, sign=sign, min_effect=least, seed=seed).holds:
            word = "raises" if sign > 0 else "lowers"
            where = f" on contexts with {held.words}" if held.words else ""
            findings.claim(f"{name} {word} feature {spec.feature_id} by {abs(cells.mean[at]):.3g}{where}")
    findings.table(
        "binary_presence",
        ("binary", "mean_present", "mean_absent", *CELL_COLUMNS),
        rows,
        caption="Paired change of the activation when the binary is brought in, on base contexts where it may be there "
        f"and may be absent. 95 % cluster bootstrap; p: sign-flip, max-T over {cells.n_tested} binaries; effect: d_z.",
    )
    _write_top(findings, rows)


def _compare(
    spec: ExperimentSpec,
    variables: BinaryVariables,
    context: ExperimentContext,
    findings: Findings,
    names: list[str],
    least: float,
) -> None:
    found, held = held_rows(spec, context, findings, tokens=variables.stable_tokens)
    findings.n_contexts_tested = len(found)
    rows: list[dict[str, Any]] = []
    for name in names:
        has = context.rows_with(context.domain.binaries[name])[found.rows].astype(np.int64)
        if min(has.sum(), (1 - has).sum()) < FEW:
            findings.drop("binary with fewer than 5 rows with it or without it")
            continue
        observed = observe_levels(
            found,
            has,
            context,
            levels=(1,),
            reference=0,
            leave_out=(name, *held.change.rungs, *held.change.binaries),
            confounders=variables.confounders,
            seed=derive_seed(spec.seed, f"observed {name}"),
        )
        cell, rest = observed.as_cells()[0], observed.rows("rung")[0]
        del cell["rung"]
        crude = {key: rest[key] for key in CRUDE_COLUMNS}
        means = {"mean_present": found.values[has == 1].mean(), "mean_absent": found.values[has == 0].mean()}
        confirmed = observed.confirmed_threshold(least) is not None
        rows.append({"binary": name, **means, **cell, **crude, "confirmed": confirmed, "adjusted_for": observed.words})
    if not rows:
        raise UsageError("no binary has 5 rows with it and 5 without", expected="one that does", todo="widen the slice")
    corrected = holm(np.array([np.nan if row["p"] is None else row["p"] for row in rows], float), skip_nan=True)
    findings.n_comparisons = int((~np.isnan(corrected)).sum())
    for row, p in zip(rows, corrected, strict=True):
        row["p_corrected"] = p
        if row["confirmed"] and p < ALPHA:
            findings.claim(
                f"rows with {row['binary']} have another activation of feature {spec.feature_id} than rows without, by "
                f"{row['mean_delta']:+.3g} adjusted for {row['adjusted_for']} (associated)"
            )
    findings.table(
        "binary_presence",
        ("binary", "mean_present", "mean_absent", *CELL_COLUMNS, *CRUDE_COLUMNS, "confirmed", "adjusted_for"),
        rows,
        caption="OBSERVATIONAL: rows with the binary against rows without, zeros included; mean_delta: adjusted; "
        f"p: of that, corrected over {findings.n_comparisons} binaries (Holm); effect: Cohen's d of the crude one.",
    )
    _write_top(findings, rows)


def _write_top(findings: Findings, rows: list[dict[str, Any]]) -> None:
    known = [row for row in rows if row["mean_delta"] is not None and np.isfinite(row["mean_delta"])]
    deltas = np.array([row["mean_delta"] for row in known], float)
    if not len(deltas):
        findings.warn("no binary could be measured")
        return
    top = known[int(np.argmax(np.abs(deltas)))]
    spread = float(deltas.std(ddof=1)) if len(deltas) > 1 else None
    findings.aggregate(mean_delta=float(deltas.mean()), std_delta=spread, n_samples=findings.n_contexts_tested)
    findings.add(top_binary=top["binary"], top_binary_delta=top["mean_delta"])
