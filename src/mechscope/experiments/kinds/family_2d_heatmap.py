"""Two families, or a family and a binary, in a grid: every pair of levels, and whether the two act together.

Interventional: each base context is set to every pair of levels; a cell's delta is the mean paired difference to the
corner (absent, absent). The interaction of a pair is the second difference f(x, y) - f(x, 0) - f(0, y) + f(0, 0): it
is 0 when effects add up. A ReLU makes such differences by itself where a corner lies at zero, so they are also given
for the contexts with all four corners above zero. Observational: rows in cells by the levels they have, zeros included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from mechscope.core import Spec, UsageError, derive_seed, unknown_name
from mechscope.core.kinds import EXPERIMENTS
from mechscope.corpora.domain import Domain, settle_rungs
from mechscope.experiments.adjusting import contrast_levels
from mechscope.experiments.base_contexts import draw_bases
from mechscope.experiments.cells import CELL_COLUMNS, FEW, PairedCells, flag_of, paired_cells
from mechscope.experiments.changes import Change, parse_held
from mechscope.experiments.confounders import confounders_of, find_family
from mechscope.experiments.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing import observe_levels, rows_holding_constant
from mechscope.experiments.responses import measure
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.selecting import ALPHA, confirm
from mechscope.experiments.slicing import slice_rows
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Column, Figure
from mechscope.reports.figures.style import axis, empty, layout, numbers_table
from mechscope.stats import bootstrap_mean_cells

__all__ = ["Family2dHeatmap", "Family2dVariables"]

BASES, MOST_LEVELS = 200, 7
MEAN_COLUMNS = ("x", "y", "mean", "low", "high", "n", "n_illegal", "flag")
INTERACTION_COLUMNS = ("x", "y", *CELL_COLUMNS, "above_floor", "n_above_floor")
OVERALL_COLUMNS = ("contexts", *CELL_COLUMNS)


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


@dataclass(frozen=True)
class _Axis:
    """A family or a binary with its levels, absent (0) first."""

    name: str
    levels: tuple[int, ...]
    is_binary: bool

    def change(self, level: int) -> Change:
        if self.is_binary:
            return Change(f"{self.name} {level}", binaries={self.name: bool(level)})
        return Change(f"{self.name} {level}", rungs={self.name: level})

    def of_rows(self, context: ExperimentContext) -> np.ndarray:
        """Index of the level of every row, -1 where it has another one, int64 [n_rows]."""
        if self.is_binary:
            return context.rows_with(context.domain.binaries[self.name]).astype(np.int64)
        rungs = context.family_rungs(self.name)
        at = np.minimum(np.searchsorted(self.levels, rungs), len(self.levels) - 1)
        return np.where(np.array(self.levels)[at] == rungs, at, -1)


def _axis(domain: Domain, name: str, rungs: tuple[int, ...], findings: Findings) -> _Axis:
    binaries = {binary.lower(): binary for binary in domain.binaries}
    if name.strip().lower() in binaries:
        if set(rungs) - {0, 1}:
            raise UsageError(
                f"rungs {rungs} of the binary {name!r}", expected="none, or 0 and 1", todo="leave them out"
            )
        return _Axis(binaries[name.strip().lower()], (0, 1), is_binary=True)
    known = {alias.lower() for f in domain.families.values() for alias in (f.name, f.short_name) if alias}
    if name.strip().lower() not in known:
        raise unknown_name("family or binary", name, [*domain.families, *domain.binaries])
    family = find_family(domain, name)
    settled = settle_rungs(family, rungs, snap=True)
    for note in settled.notes:
        findings.warn(note)
    levels = sorted(rung for rung in settled.rungs if rung)
    if not levels:
        raise UsageError(f"no rung of {family.name} besides absent", expected="a rung", todo="name one")
    if not rungs and len(levels) > MOST_LEVELS:
        levels = [levels[at] for at in np.linspace(0, len(levels) - 1, MOST_LEVELS).round().astype(int)]
        findings.note(f"{family.name}: {MOST_LEVELS} rungs spread over its ladder; name rungs for others")
    return _Axis(family.name, (0, *levels), is_binary=False)


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
        x = _axis(context.domain, variables.family_x, variables.rungs_x, findings)
        y = _axis(context.domain, variables.family_y, variables.rungs_y, findings)
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


def _places(x: _Axis, y: _Axis) -> list[tuple[int, int]]:
    """Cells in the order of every table: the corner first, y fastest."""
    return [(i, j) for i in range(len(x.levels)) for j in range(len(y.levels))]


def _means(
    values: np.ndarray, clusters: np.ndarray, x: _Axis, y: _Axis, refused: np.ndarray, findings: Findings, seed: int
) -> None:
    """Mean of each cell of `values` [n, cells], NaN where it was not measured."""
    n = (~np.isnan(values)).sum(axis=0)
    enough = n >= FEW
    low, high = np.full(len(n), np.nan), np.full(len(n), np.nan)
    if enough.any():
        kept = ~np.isnan(values[:, enough]).all(axis=1)
        intervals = bootstrap_mean_cells(values[:, enough][kept], seed=seed, clusters=clusters[kept])
        low[enough], high[enough] = intervals.low, intervals.high
    means = np.where(n > 0, np.nansum(values, axis=0) / np.maximum(n, 1), np.nan)
    rows = [
        {"x": x.levels[i], "y": y.levels[j], "mean": means[at], "low": low[at], "high": high[at], "n": n[at],
         "n_illegal": refused[at], "flag": flag_of(int(n[at]))}
        for at, (i, j) in enumerate(_places(x, y))
    ]  # fmt: skip
    findings.table("grid_means", MEAN_COLUMNS, rows, caption=f"Mean activation; x: {x.name}, y: {y.name}, 0: absent.")


def _intervene(
    spec: ExperimentSpec,
    variables: Family2dVariables,
    context: ExperimentContext,
    findings: Findings,
    x: _Axis,
    y: _Axis,
) -> None:
    groups = variables.stable_groups | ({} if variables.stable_weapon is None else {"weapon": variables.stable_weapon})
    held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=groups)
    changes = [x.change(x.levels[i]).joined(y.change(y.levels[j])) for i, j in _places(x, y)]
    held.change.joined(changes[0])  # what is held may not be what varies
    bases = draw_bases(spec, context, findings, held=held, n_bases=BASES)
    constraints = Constraints(spec.constraints, context, findings)
    responses = measure(context, spec.feature_id, bases, changes, constraints)
    values, seed = responses.values, derive_seed(spec.seed, x.name, y.name)
    is_withheld = constraints.floor(values, touches_group=bool(held.change.groups))
    _means(values, bases.clusters, x, y, responses.n_refused, findings, seed)
    deltas = responses.deltas(0)[:, 1:]
    findings.n_contexts_tested = int((~np.isnan(deltas).all(axis=1)).sum())
    cells = paired_cells(deltas, bases.clusters, seed=seed)
    rows = [{"x": x.levels[i], "y": y.levels[j], **cells.row(at)} for at, (i, j) in enumerate(_places(x, y)[1:])]
    findings.table("grid_deltas", ("x", "y", *CELL_COLUMNS), rows,
                   caption="Paired change against (absent, absent); p: sign-flip, max-T over the cells.")  # fmt: skip
    grid = values.reshape(len(values), len(x.levels), len(y.levels))
    second = grid[:, 1:, 1:] - grid[:, 1:, :1] - grid[:, :1, 1:] + grid[:, :1, :1]
    lowest = np.minimum(np.minimum(grid[:, 1:, 1:], grid[:, 1:, :1]), np.minimum(grid[:, :1, 1:], grid[:, :1, :1]))
    pairs = second.reshape(len(values), -1)
    above = np.where(lowest.reshape(pairs.shape) > 0, pairs, np.nan)
    tested = paired_cells(pairs, bases.clusters, seed=derive_seed(seed, "pairs"))
    n_above = (~np.isnan(above)).sum(axis=0)
    mean_above = np.where(n_above >= FEW, np.nansum(above, axis=0) / np.maximum(n_above, 1), np.nan)
    names = [(level_x, level_y) for level_x in x.levels[1:] for level_y in y.levels[1:]]
    rows = [
        {"x": level_x, "y": level_y, **tested.row(at), "above_floor": mean_above[at], "n_above_floor": n_above[at]}
        for at, (level_x, level_y) in enumerate(names)
    ]
    findings.table("interactions", INTERACTION_COLUMNS, rows, caption="Second differences; above_floor: the mean over "
                   "base contexts with all four corners above zero, where a ReLU cannot make them.")  # fmt: skip
    findings.n_comparisons = cells.n_tested + tested.n_tested
    each = deltas[~np.isnan(deltas)]
    findings.aggregate(
        mean_delta=float(each.mean()) if len(each) else None,
        std_delta=float(each.std(ddof=1)) if len(each) > 1 else None,
        n_samples=len(bases),
    )
    overall = np.stack([_row_means(pairs), _row_means(above)], axis=1)
    both = [paired_cells(column[:, None], bases.clusters, seed=derive_seed(seed, "overall")) for column in overall.T]
    _write_overall(both, findings)
    stats = context.inputs.store.stats(spec.feature_id)
    least = variables.min_effect * float(stats.effective_maximum or 1.0)
    findings.add(min_effect=least, held=held.words)
    chosen = paired_cells(overall[~bases.is_held_out][:, :1], bases.clusters[~bases.is_held_out], seed=seed)
    if not (chosen.p_corrected[0] < ALPHA and abs(chosen.mean[0]) >= least):
        return
    sign = float(np.sign(chosen.mean[0]))
    told = confirm(overall[:, 0], bases, sign=sign, min_effect=least, seed=derive_seed(seed, "confirm"))
    if not told.holds:
        return
    word = "positive" if sign > 0 else "negative"
    findings.add(interaction_sign=word)
    is_free = both[1].low[0] > 0 if sign > 0 else both[1].high[0] < 0
    if not is_free:
        findings.warn(
            f"the {word} interaction is not seen where all four corners are above zero "
            f"({int(both[1].n[0])} base contexts): the ReLU may have made it"
        )
    elif not is_withheld:
        findings.claim(
            f"{x.name} and {y.name} act {'more' if sign > 0 else 'less'} together than the sum of each on feature "
            f"{spec.feature_id} (second difference {both[0].mean[0]:+.3g})"
        )


def _row_means(table: np.ndarray) -> np.ndarray:
    n = (~np.isnan(table)).sum(axis=1)
    return np.where(n > 0, np.nansum(table, axis=1) / np.maximum(n, 1), np.nan)


def _write_overall(both: list[PairedCells], findings: Findings) -> None:
    rows = [{"contexts": name, **cells.row(0)} for name, cells in zip(("all", "above the floor"), both, strict=True)]
    findings.table("overall_interaction", OVERALL_COLUMNS, rows,
                   caption="Second difference, the mean over each context's pairs; p: sign-flip.")  # fmt: skip
    everything = rows[0]
    findings.add(
        interaction=everything["mean_delta"], interaction_low=everything["low"], interaction_high=everything["high"],
        interaction_p=everything["p"], interaction_above_floor=rows[1]["mean_delta"],
    )  # fmt: skip


def _observe(
    spec: ExperimentSpec,
    variables: Family2dVariables,
    context: ExperimentContext,
    findings: Findings,
    x: _Axis,
    y: _Axis,
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
    values = np.where(cell[:, None] == np.arange(n_cells), found.values[:, None], np.nan)
    _means(values, clusters, x, y, np.zeros(n_cells, np.int64), findings, seed)
    leave_out = (x.name, y.name, *held.change.rungs, *held.change.binaries, *held.change.groups)
    observed = observe_levels(
        found, cell, context, levels=tuple(range(1, n_cells)), reference=0, leave_out=leave_out,
        confounders=variables.confounders, seed=seed,
    )  # fmt: skip
    places = _places(x, y)[1:]
    rows = []
    for (i, j), row in zip(places, observed.as_cells("cell"), strict=True):
        numbers = {key: row[key] for key in CELL_COLUMNS}
        rows.append({"x": x.levels[i], "y": y.levels[j], **numbers})
    findings.table("grid_deltas", ("x", "y", *CELL_COLUMNS), rows, caption=observed.caption)
    findings.n_comparisons, findings.n_contexts_tested = sum(row["p"] is not None for row in rows), len(found)
    known = confounders_of(context, leave_out=leave_out, names=variables.confounders)
    margins = [at[:, None] == np.arange(1, len(axis_.levels)) for at, axis_ in ((at_x, x), (at_y, y))]
    together = contrast_levels(
        found.values, ((at_x > 0) & (at_y > 0)).astype(np.int64), (1,), reference=0, strata=known.strata[found.rows],
        covariates=np.concatenate([*margins, known.covariates[found.rows]], axis=1).astype(np.float64),
        clusters=clusters, seed=seed,
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
