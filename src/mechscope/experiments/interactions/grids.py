"""Grids of two things that vary: their axes, the cells between them, and what the second differences in them are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError, unknown_name
from mechscope.corpora.domain import Domain, settle_rungs
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.changing.changes import Change
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.confounders import find_family
from mechscope.stats import bootstrap_mean_cells
from mechscope.stats.distributions import student_quantile

__all__ = [
    "GridAxis",
    "effects_together",
    "grid_axis",
    "grid_places",
    "second_differences",
    "write_means",
    "write_row_means",
]

MOST_LEVELS = 7
MEAN_COLUMNS = ("x", "y", "mean", "low", "high", "n", "n_illegal", "flag")


@dataclass(frozen=True)
class GridAxis:
    """A family or a binary with its levels, absent (0) first."""

    name: str
    levels: tuple[int, ...]
    is_binary: bool

    def change(self, level: int) -> Change:
        """What sets it to a level."""
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


def grid_axis(domain: Domain, name: str, rungs: tuple[int, ...], findings: Findings) -> GridAxis:
    """The axis of a family (name or short name) or a binary; of a long ladder 7 rungs where none is named.

    Raises:
        NotFoundError: no such family or binary, with the nearest.
        UsageError: a rung that it does not have, or none besides absent.
    """
    binaries = {binary.lower(): binary for binary in domain.binaries}
    if name.strip().lower() in binaries:
        if set(rungs) - {0, 1}:
            raise UsageError(
                f"rungs {rungs} of the binary {name!r}", expected="none, or 0 and 1", todo="leave them out"
            )
        return GridAxis(binaries[name.strip().lower()], (0, 1), is_binary=True)
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
    return GridAxis(family.name, (0, *levels), is_binary=False)


def grid_places(x: GridAxis, y: GridAxis) -> list[tuple[int, int]]:
    """Cells in the order of every table: the corner first, y fastest."""
    return [(i, j) for i in range(len(x.levels)) for j in range(len(y.levels))]


def second_differences(values: np.ndarray, x: GridAxis, y: GridAxis) -> np.ndarray:
    """f(x, y) - f(x, 0) - f(0, y) + f(0, 0) of every pair, y fastest, and a context's mean over them as last column."""
    grid = values.reshape(len(values), len(x.levels), len(y.levels))
    pairs = (grid[:, 1:, 1:] - grid[:, 1:, :1] - grid[:, :1, 1:] + grid[:, :1, :1]).reshape(len(values), -1)
    # the mean is one more cell of the family: small interactions all over the grid add up in it
    return np.concatenate([pairs, _row_means(pairs)[:, None]], axis=1)


def effects_together(values: np.ndarray, x: GridAxis, y: GridAxis) -> np.ndarray:
    """f(x, y) - f(0, 0) of every pair, in the columns of `second_differences` and missing where that is."""
    grid = values.reshape(len(values), len(x.levels), len(y.levels))
    both = (grid[:, 1:, 1:] - grid[:, :1, :1]).reshape(len(values), -1)
    both = np.where(np.isnan(second_differences(values, x, y)[:, :-1]), np.nan, both)
    return np.concatenate([both, _row_means(both)[:, None]], axis=1)


def _row_means(table: np.ndarray) -> np.ndarray:
    n = (~np.isnan(table)).sum(axis=1)
    return np.where(n > 0, np.nansum(table, axis=1) / np.maximum(n, 1), np.nan)


def write_means(
    values: np.ndarray,
    clusters: np.ndarray,
    x: GridAxis,
    y: GridAxis,
    refused: np.ndarray,
    findings: Findings,
    seed: int,
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
    _write(n, means, low, high, x, y, refused, findings)


def write_row_means(
    values: np.ndarray, cell: np.ndarray, clusters: np.ndarray, x: GridAxis, y: GridAxis, findings: Findings, seed: int
) -> None:
    """Mean of each cell over rows that lie in one each: activation and cell of each row, [n].

    Where rows are independent their intervals are Student's t: the bootstrap's to a Monte Carlo error, and a million
    rows need not be resampled.
    """
    n_cells = len(x.levels) * len(y.levels)
    refused = np.zeros(n_cells, np.int64)
    if clusters.dtype.kind not in "iu" or not (np.diff(clusters) > 0).all():
        table = np.where(cell[:, None] == np.arange(n_cells), values[:, None], np.nan)
        write_means(table, clusters, x, y, refused, findings, seed)
        return
    n = np.bincount(cell, minlength=n_cells)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(cell, weights=values, minlength=n_cells) / n
        squares = np.bincount(cell, weights=np.square(values - means[cell]), minlength=n_cells)
        step = np.where(n >= FEW, student_quantile(0.975, n - 1) * np.sqrt(squares / (n - 1) / n), np.nan)
    _write(n, means, means - step, means + step, x, y, refused, findings)


def _write(
    n: np.ndarray,
    means: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    x: GridAxis,
    y: GridAxis,
    refused: np.ndarray,
    findings: Findings,
) -> None:
    rows = [
        {"x": x.levels[i], "y": y.levels[j], "mean": means[at], "low": low[at], "high": high[at], "n": n[at],
         "n_illegal": refused[at], "flag": flag_of(int(n[at]))}
        for at, (i, j) in enumerate(grid_places(x, y))
    ]  # fmt: skip
    findings.table("grid_means", MEAN_COLUMNS, rows, caption=f"Mean activation; x: {x.name}, y: {y.name}, 0: absent.")
