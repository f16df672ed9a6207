"""Two families, or a family and a binary, in a grid: every pair of levels, and whether the two act together.

Interventional: each base context is set to every pair of levels; a cell's delta is the mean paired difference to the
corner (absent, absent). The interaction of a pair is the second difference f(x, y) - f(x, 0) - f(0, y) + f(0, 0): it
is 0 when effects add up. A ReLU makes such differences by itself where a corner lies at zero, so they are also given
before the floor (contexts with all four corners above zero would not do: noise has a part in choosing them).
Observational: rows in cells by the levels they have, zeros included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from mechscope.core import Spec, UsageError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW, paired_cells
from mechscope.experiments.changing.changes import parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.responses import measure
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.grids import GridAxis, grid_axis, grid_places, write_means, write_row_means
from mechscope.experiments.interactions.of_grids import write_interactions
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.adjusting import contrast_levels
from mechscope.experiments.observing.confounders import confounders_of
from mechscope.experiments.observing.levels import observe_levels, rows_holding_constant
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Column, Figure
from mechscope.reports.figures.style import axis, empty, layout, numbers_table

__all__ = ["Family2dHeatmap", "Family2dVariables"]

BASES = 200


class Family2dVariables(Spec):
    """The variables of a grid.

    Attributes:
        family_x, family_y: families (name or short name) or binaries ("comeback": absent and present).
        rungs_x, rungs_y: which; all by default, or 7 spread over a longer ladder. Absent (0) is always among them.
        stable_tokens, stable_groups, stable_weapon: what every condition has, as in a sweep.
        confounders: what observed cells are adjusted for; by default the weapon, other families and binaries.
        min_effect: least interaction that counts, as a share of the feature's effective maximum.
    """

    family_x: str
    family_y: str
    rungs_x: tuple[int, ...] = ()
    rungs_y: tuple[int, ...] = ()
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}
    stable_weapon: str | None = None
    confounders: tuple[str, ...] | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)


@EXPERIMENTS.register("family_2d_heatmap")
class Family2dHeatmap(ExperimentKind):
    """A grid of two families or binaries."""

    name = "family_2d_heatmap"
    aliases = ("heatmap",)
    title = "Two families in a grid"
    variables = Family2dVariables
    modes = (CAUSAL, OBSERVED)
    alternatives = (
        "rows with both go with a weapon (or another group) that is what the feature follows",
        "players who take both tend to take other abilities too, and those are what the feature follows",
    )

    def run(
        self, spec: ExperimentSpec, variables: Family2dVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Measure the grid in the spec's mode."""
        x = grid_axis(context.domain, variables.family_x, variables.rungs_x, findings)
        y = grid_axis(context.domain, variables.family_y, variables.rungs_y, findings)
        if x.name == y.name:
            raise UsageError(f"{x.name} on both axes", expected="two families", todo="use family_1d_sweep for one")
        findings.add(family_x=x.name, family_y=y.name, levels_x=x.levels, levels_y=y.levels, interaction_sign="none")
        if spec.mode == OBSERVED:
            _observe(spec, variables, context, findings, x, y)
        else:
            _intervene(spec, variables, context, findings, x, y)

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """Cell means as a heatmap; cells of fewer than 5 are gaps."""
        custom = result.aggregates.custom
        title = f"{custom.get('family_x')} and {custom.get('family_y')}"
        if "grid_means" not in result.tables:
            return {"heatmap": empty(title, "There is nothing to draw: no cell was measured.")}
        rows = result.tables["grid_means"].rows
        xs, ys = (list(dict.fromkeys(row[key] for row in rows)) for key in ("x", "y"))
        shown = {(row["x"], row["y"]): row["mean"] if _count(row["n"]) >= FEW else None for row in rows}
        trace = {"type": "heatmap", "x": [str(x) for x in xs], "y": [str(y) for y in ys],
                 "z": [[shown[x, y] for x in xs] for y in ys], "colorscale": "Viridis",
                 "colorbar": {"title": {"text": "mean activation"}}}  # fmt: skip
        columns = [Column(name="x"), Column(name="y"), Column(name="mean", form="number"), Column(name="n")]
        numbers = numbers_table(columns, [(str(r["x"]), str(r["y"]), r["mean"], str(r["n"])) for r in rows])  # type: ignore[misc]
        return {
            "heatmap": Figure(
                title=title,
                caption=f"Mean activation of feature {result.feature_id} ({result.evidence}); 0: absent. Cells of "
                f"fewer than {FEW} are left empty.",
                traces=(trace,),
                layout=layout(
                    axis(str(custom.get("family_x")), type="category"),
                    axis(str(custom.get("family_y")), type="category"),
                ),
                numbers=numbers,
            )
        }


def _count(n: Any) -> int:
    return int(n or 0)


def _intervene(
    spec: ExperimentSpec,
    variables: Family2dVariables,
    context: ExperimentContext,
    findings: Findings,
    x: GridAxis,
    y: GridAxis,
) -> None:
    groups = variables.stable_groups | ({} if variables.stable_weapon is None else {"weapon": variables.stable_weapon})
    held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=groups)
    changes = [x.change(x.levels[i]).joined(y.change(y.levels[j])) for i, j in grid_places(x, y)]
    held.change.joined(changes[0])  # what is held may not be what varies
    bases = draw_bases(spec, context, findings, held=held, n_bases=BASES)
    constraints = Constraints(spec.constraints, context, findings)
    responses = measure(context, spec.feature_id, bases, changes, constraints, should_look_below=True)
    values, seed = responses.values, derive_seed(spec.seed, x.name, y.name)
    is_withheld = constraints.floor(values, touches_group=bool(held.change.groups))
    write_means(values, bases.clusters, x, y, responses.n_refused, findings, seed)
    deltas = responses.deltas(0)[:, 1:]
    findings.n_contexts_tested = int((~np.isnan(deltas).all(axis=1)).sum())
    cells = paired_cells(deltas, bases.clusters, seed=seed)
    rows = [{"x": x.levels[i], "y": y.levels[j], **cells.row(at)} for at, (i, j) in enumerate(grid_places(x, y)[1:])]
    findings.table("grid_deltas", ("x", "y", *CELL_COLUMNS), rows,
                   caption="Paired change against (absent, absent); p: sign-flip, max-T over the cells.")  # fmt: skip
    least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    findings.add(min_effect=least, held=held.words)
    n_pairs, claim = write_interactions(
        responses, x, y, bases, findings, feature=spec.feature_id, min_effect=least, seed=seed
    )
    findings.n_comparisons = cells.n_tested + n_pairs
    each = deltas[~np.isnan(deltas)]
    findings.aggregate(
        mean_delta=float(each.mean()) if len(each) else None,
        std_delta=float(each.std(ddof=1)) if len(each) > 1 else None,
        n_samples=len(bases),
    )
    if claim is not None and not is_withheld:
        findings.claim(claim)


def _observe(
    spec: ExperimentSpec,
    variables: Family2dVariables,
    context: ExperimentContext,
    findings: Findings,
    x: GridAxis,
    y: GridAxis,
) -> None:
    groups = variables.stable_groups | ({} if variables.stable_weapon is None else {"weapon": variables.stable_weapon})
    held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=groups)
    found = rows_holding_constant(slice_rows(spec, context, findings), context, held)
    at_x, at_y = x.of_rows(context)[found.rows], y.of_rows(context)[found.rows]
    in_grid = (at_x >= 0) & (at_y >= 0)
    findings.drop("rows at a rung outside the grid", int((~in_grid).sum()))
    found, at_x, at_y = found.only(in_grid), at_x[in_grid], at_y[in_grid]
    cell, n_cells = at_x * len(y.levels) + at_y, len(x.levels) * len(y.levels)
    clusters, seed = context.clusters_of(found.rows), derive_seed(spec.seed, x.name, y.name)
    write_row_means(found.values, cell, clusters, x, y, findings, seed)
    leave_out = (x.name, y.name, *held.change.rungs, *held.change.binaries, *held.change.groups)
    observed = observe_levels(
        found, cell, context, levels=tuple(range(1, n_cells)), reference=0, leave_out=leave_out,
        confounders=variables.confounders, seed=seed,
    )  # fmt: skip
    places = grid_places(x, y)[1:]
    rows = []
    for (i, j), row in zip(places, observed.as_cells("cell"), strict=True):
        numbers = {key: row[key] for key in CELL_COLUMNS}
        rows.append({"x": x.levels[i], "y": y.levels[j], **numbers})
    findings.table("grid_deltas", ("x", "y", *CELL_COLUMNS), rows, caption=observed.caption)
    findings.n_comparisons, findings.n_contexts_tested = sum(row["p"] is not None for row in rows), len(found)
    known = confounders_of(context, leave_out=leave_out, names=variables.confounders)
    strata, covariates = known.of_rows(found.rows)
    margins = [at[:, None] == np.arange(1, len(axis_.levels)) for at, axis_ in ((at_x, x), (at_y, y))]
    together = contrast_levels(
        found.values, ((at_x > 0) & (at_y > 0)).astype(np.int64), (1,), reference=0, strata=strata,
        covariates=np.concatenate([*margins, covariates], axis=1),
        clusters=clusters, seed=seed, kept=known.kept(found.rows, "margins of", x.name, "and", y.name),
    )  # fmt: skip
    low, high, p = together.adjusted_low[0], together.adjusted_high[0], together.p[0]
    findings.aggregate(n_samples=len(found))
    findings.add(
        interaction=together.adjusted[0], interaction_low=low, interaction_high=high, interaction_p=p,
        interaction_sign="none" if not (low > 0 or high < 0) else "positive" if low > 0 else "negative",
    )  # fmt: skip
    findings.note(
        f"interaction: how far rows with both lie from the sum of the two margins, by least squares adjusted for "
        f"{known.words}; an association"
    )
