"""Interactions as rows show them: what rows with all factors have beyond the lower-order sums, adjusted.

Least squares with a mean for every combination of the factors and the confounders beside them (see `cell_solutions`);
the interaction of order k is the difference of order k of those means, an association. Rows at a rung in between say
something of the confounders alone. Zeros are part of every mean. Chosen on one half of the rows (clusters never cut),
confirmed on the other in direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.core import numpy_generator
from mechscope.core.kept import content_key, rows_key
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.interactions.cell_rows import N_LEVELS, AdjustedRows, CellRows, Outcome
from mechscope.experiments.interactions.cell_solutions import CellFit, CellSolution, squared_influences
from mechscope.experiments.interactions.factorial import Design
from mechscope.experiments.observing.adjusting import ROUNDING
from mechscope.experiments.observing.confounders import Confounders, confounders_of
from mechscope.experiments.observing.slicing import Slice
from mechscope.stats import Z_95, holm
from mechscope.stats.distributions import normal_tail
from mechscope.stats.samples import n_different, ranks

__all__ = ["ObservedInteraction", "halves_of", "observe_designs", "observed_row"]

LEAST_P = 1e-15


@dataclass(frozen=True)
class ObservedInteraction:
    """One design in the rows.

    Attributes:
        value, low, high, p: of the adjusted interaction, NaN when a corner has fewer than 5 rows; p is that of the
            normal, two-sided, and never below 1e-15: an estimate is not so normal that more could be told.
        p_corrected: by Holm over the designs.
        crude: the difference of order k of the corners' means.
        n: rows in each corner; means, zeros: mean of each corner, and share of its rows at zero.
        spread: standard deviation of the rows, for a standardised effect.
        words: the confounders.
        sign: +1 or -1 where one half chose it and the other confirmed it, else 0. held_out: value and p of that half.
    """

    value: float
    low: float
    high: float
    p: float
    p_corrected: float
    crude: float
    n: tuple[int, ...]
    means: tuple[float, ...]
    zeros: tuple[float, ...]
    spread: float
    words: str
    sign: int
    held_out: tuple[float, float]


def halves_of(found: Slice, context: ExperimentContext, *, seed: int) -> np.ndarray:
    """Which rows are held out, boolean [n]; about half of them, clusters whole."""
    n_clusters, cluster = ranks(context.clusters_of(found.rows))
    drawn = numpy_generator(seed, "observed halves").permutation(n_clusters)
    is_held_out: np.ndarray = (drawn % 2 == 1)[cluster]
    return is_held_out


def observe_designs(
    found: Slice,
    is_held_out: np.ndarray | None,
    context: ExperimentContext,
    designs: Sequence[Design],
    *,
    leave_out: Sequence[str],
    confounders: Sequence[str] | None,
    least: float,
) -> list[ObservedInteraction]:
    """The adjusted interaction of every design.

    Args:
        found, is_held_out: the rows of the slice, and which of them confirm; None: nothing is selected.
        context: the subject.
        designs: factors of each, as many in all.
        leave_out: no confounders, beside the groups that are factors: what is held constant.
        confounders: what to adjust for; None for the domain's own.
        least: the least interaction that counts.

    Raises NotFoundError for an unknown confounder. Cost: two products of the rows' covariates with a column a design,
    and twice that with halves; the first feature of a corpus pays for sums and products of its rows too.
    """
    raw: dict[int, dict[str, Any]] = {}
    groups = [tuple(dict.fromkeys(f.topic for f in design if f.group)) for design in designs]
    for topics in dict.fromkeys(groups):
        at = [index for index, one in enumerate(groups) if one == topics]
        known = confounders_of(context, leave_out=(*leave_out, *topics), names=confounders)
        raw |= zip(at, _measured(found, is_held_out, context, [designs[index] for index in at], known), strict=True)
    each = [raw[index] for index in range(len(designs))]
    corrected, chosen = (_corrected(np.array([one[part] for one in each])) for part in ("p", "first_p"))
    results = []
    for one, p_corrected, p_chosen in zip(each, corrected, chosen, strict=True):
        first, other, other_p = one.pop("first"), one.pop("other"), one.pop("other_p")
        one.pop("first_p")
        holds = p_chosen < ALPHA and abs(first) >= least and other_p < ALPHA and np.sign(first) == np.sign(other)
        sign = int(np.sign(first)) if holds else 0
        results.append(ObservedInteraction(p_corrected=float(p_corrected), sign=sign, held_out=(other, other_p), **one))
    return results


def observed_row(found: ObservedInteraction) -> dict[str, Any]:
    """The columns that every table of cells has, and the held-out half."""
    row: dict[str, Any] = {"n": sum(found.n), "flag": flag_of(min(found.n))}
    if np.isfinite(found.value):
        row |= {"mean_delta": found.value, "std_error": (found.high - found.low) / (2 * Z_95)}
        row |= {"low": found.low, "high": found.high, "p": found.p, "p_corrected": found.p_corrected}
        row["effect"] = found.value / found.spread if found.spread > 0 else None
        row |= {"held_out_delta": found.held_out[0], "held_out_p": found.held_out[1]}
    return row


def _corrected(p: np.ndarray) -> np.ndarray:
    return p if np.isnan(p).all() else holm(p, skip_nan=True)


@dataclass(frozen=True, eq=False)
class DesignRows:
    """Rows in the cells of designs, and what is solved of them before there is an outcome.

    Attributes:
        parts: all rows in one, or the half that chooses and the half that confirms.
        whole: of all rows. halves: of either part, where there are two.
    """

    parts: tuple[CellRows, ...]
    whole: CellSolution
    halves: tuple[CellSolution, ...]

    @classmethod
    def of(
        cls, rows: np.ndarray, held_out: np.ndarray | None, context: ExperimentContext, designs: Sequence[Design],
        known: Confounders,
    ) -> DesignRows:  # fmt: skip
        """Read from corpus rows. Two passes over them, kept for the next feature."""
        key = (known.names, rows_key(rows, context.corpus.n_rows),
               None if held_out is None else content_key(held_out))  # fmt: skip
        among = context.adjusted_rows.get(
            key, lambda: _adjusted(rows, held_out, known), lambda parts: sum(part.n_bytes for part in parts)
        )
        names = tuple(tuple(factor.name for factor in design) for design in designs)
        return context.design_rows.get(
            (key, names), lambda: cls._read(rows, among, context, designs), lambda found: found.n_bytes
        )

    @classmethod
    def _read(
        cls, rows: np.ndarray, among: tuple[AdjustedRows, ...], context: ExperimentContext, designs: Sequence[Design]
    ) -> DesignRows:
        factors = {factor.name: factor for design in designs for factor in design}
        # in between, -1, is the third level
        levels = np.stack([factor.of_rows(context)[rows].astype(np.uint8) for factor in factors.values()])
        np.minimum(levels, N_LEVELS - 1, out=levels)
        place = {name: at for at, name in enumerate(factors)}
        of_designs = np.array([[place[factor.name] for factor in design] for design in designs])
        parts = [CellRows(part, levels[:, part.rows], of_designs) for part in among]
        moments = [part.moments for part in parts]
        order, is_whole = of_designs.shape[1], len(parts) == 1
        total = moments[0] if is_whole else moments[0] + moments[1]
        halves = () if is_whole else tuple(CellSolution(one, order) for one in moments)
        return cls(tuple(parts), CellSolution(total, order), halves)

    @property
    def n_bytes(self) -> int:
        """Of the rows' levels."""
        return sum(part.n_bytes for part in self.parts)


def _adjusted(rows: np.ndarray, held_out: np.ndarray | None, known: Confounders) -> tuple[AdjustedRows, ...]:
    """The rows with what is adjusted for: all of them, or the half that chooses and the half that confirms."""
    n_strata = int(known.strata.max()) + 1
    places = [np.arange(len(rows))] if held_out is None else [np.flatnonzero(~held_out), np.flatnonzero(held_out)]
    found = []
    for at in places:
        strata, covariates = known.of_rows(rows[at])
        found.append(AdjustedRows(at, covariates, strata, n_strata))
    return tuple(found)


def _measured(
    found: Slice,
    is_held_out: np.ndarray | None,
    context: ExperimentContext,
    designs: Sequence[Design],
    known: Confounders,
) -> list[dict[str, Any]]:
    """Every design over all rows, and in the two halves."""
    kept = DesignRows.of(found.rows, is_held_out, context, designs, known)
    n_clusters, index = ranks(context.clusters_of(found.rows))
    clusters = None if n_clusters == len(found) else index
    parts = [(part, found.values[part.among.rows]) for part in kept.parts]
    outcomes = [part.outcome(y) for part, y in parts]
    total = outcomes[0] if len(outcomes) == 1 else outcomes[0] + outcomes[1]
    corners = corner_cells(len(designs[0]))
    whole, fits = kept.whole.fit(total), [one.fit(outcome) for one, outcome in zip(kept.halves, outcomes, strict=False)]
    squares = squared_influences(parts, [[whole, *fits[at : at + 1]] for at in range(len(parts))], clusters)
    told = [_estimates(kept.whole, whole, squares[0], parts, clusters, corners)]
    for solution, fit, squared, part in zip(kept.halves, fits, squares[1:], parts, strict=False):
        told.append(_estimates(solution, fit, squared, [part], clusters, corners))
    everything, *halves = told if fits else [*told, *[np.full((4, len(designs)), np.nan)] * 2]
    described = _described(kept.whole, total, corners)
    rows = []
    for at in range(len(designs)):
        value, low, high, p = everything[:, at].tolist()
        rows.append(
            {"value": value, "low": low, "high": high, "p": p, **described[at], "words": known.words,
             "first": float(halves[0][0, at]), "first_p": float(halves[0][3, at]),
             "other": float(halves[1][0, at]), "other_p": float(halves[1][3, at])}
        )  # fmt: skip
    return rows


def corner_cells(order: int) -> np.ndarray:
    """The cell of every corner, by the bits of its number: bit i tells whether factor i is there."""
    return np.array([sum(N_LEVELS**at for at in range(order) if corner >> at & 1) for corner in range(1 << order)])


def _estimates(
    solution: CellSolution,
    fit: CellFit,
    squares: np.ndarray,
    parts: Sequence[tuple[CellRows, np.ndarray]],
    clusters: np.ndarray | None,
    corners: np.ndarray,
) -> np.ndarray:
    """Value, low, high and p of every design, [4, designs]; NaN where a corner has fewer than 5 rows."""
    n = sum(len(y) for _, y in parts)
    units = n if clusters is None else n_different(np.concatenate([clusters[part.among.rows] for part, _ in parts]))
    least = ROUNDING**2 * sum(float(y @ y) for _, y in parts) / n
    error = np.sqrt(np.maximum(squares * units / max(1, units - 1), least))
    is_told = solution.is_known & (solution.moments.cell_counts.sum(axis=1)[:, corners].min(axis=1) >= FEW)
    value, error = np.where(is_told, fit.values, np.nan), np.where(is_told & (error > 0), error, np.nan)
    p = np.maximum(2 * normal_tail(np.abs(value / error)), LEAST_P)
    return np.stack([value, value - Z_95 * error, value + Z_95 * error, p])


def _described(solution: CellSolution, outcome: Outcome, corners: np.ndarray) -> list[dict[str, Any]]:
    """Of the corners of each design: rows, means and shares at zero; the crude interaction and the rows' spread."""
    counts = solution.moments.cell_counts.sum(axis=1)[:, corners]
    sums, active, squares = (part[:, corners] for part in (outcome.by_cell, outcome.n_active, outcome.squares))
    with np.errstate(invalid="ignore", divide="ignore"):
        means, zeros = sums / counts, 1 - active / counts
    order = len(corners).bit_length() - 1
    signs = np.array([(-1) ** (order - corner.bit_count()) for corner in range(len(corners))])
    n, total = counts.sum(axis=1), sums.sum(axis=1)
    variance = (squares.sum(axis=1) - total**2 / np.maximum(n, 1)) / np.maximum(n - 1, 1)
    return [
        {"crude": float(means[at] @ signs), "n": tuple(counts[at].astype(int).tolist()),
         "means": tuple(means[at].tolist()), "zeros": tuple(zeros[at].tolist()),
         "spread": float(np.sqrt(max(0.0, variance[at])))}
        for at in range(len(counts))
    ]  # fmt: skip
