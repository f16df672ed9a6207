"""Rows grouped by a name they have: each group's mean activation held against the mean of all rows, zeros included.

    delta       mean of the group minus mean of all rows
    interval    cluster bootstrap of that difference, 2000 resamples; t of the linearised difference below 40 clusters
    p           units (clusters) dealt anew among the groups, corrected over all groups by max-T (`group_dealing`)
                units with rows of several groups: each unit's part in a group is dealt alone while fewer than half
                of the rows are in such units, else rows are dealt within their units
    effect      Cohen's d of the group against all other rows
Beyond 4096 units they are bound at random into 2048 bundles, which are resampled in their place: sums of bundles have
the variance and the skewness of sums of units, known to 1.6 % instead of exactly. Everything is an association.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.changing.cells import flag_of
from mechscope.stats import FEW_CLUSTERS
from mechscope.stats.bundles import N_BUNDLES, bundle_units
from mechscope.stats.distributions import student_quantile
from mechscope.stats.group_dealings import deal_groups
from mechscope.stats.resampling import column_quantiles, draw_counts

__all__ = ["GROUP_COLUMNS", "GroupMeans", "group_means"]

N_RESAMPLES = 2000
MIXED_SHARE = 0.5
MOST_CELLS = 4_000_000  # of units and groups, counted without sorting
GROUP_COLUMNS = ("mean", "std", "n", "n_clusters", "delta_from_global", "low", "high", "p", "p_corrected", "effect",
                 "flag")  # fmt: skip


@dataclass(frozen=True, eq=False)
class GroupMeans:
    """Groups in falling order of their delta; arrays [groups], NaN where there is no estimate.

    Attributes:
        names: of the groups kept. global_mean: of all rows, those of groups left out included.
        n_left_out, rows_left_out: groups of fewer than `min_examples` rows, and their rows.
    """

    names: tuple[str, ...]
    global_mean: float
    n: np.ndarray
    n_clusters: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    delta: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    p_corrected: np.ndarray
    effect: np.ndarray
    n_left_out: int
    rows_left_out: int

    def row(self, index: int) -> dict[str, Any]:
        """The columns of `GROUP_COLUMNS`."""
        return {
            "mean": self.mean[index],
            "std": self.std[index],
            "n": int(self.n[index]),
            "n_clusters": int(self.n_clusters[index]),
            "delta_from_global": self.delta[index],
            "low": self.low[index],
            "high": self.high[index],
            "p": self.p[index],
            "p_corrected": self.p_corrected[index],
            "effect": self.effect[index],
            "flag": flag_of(int(self.n_clusters[index])),
        }

    def is_raised(self, index: int, *, alpha: float = 0.05) -> bool:
        """Whether the group's delta is positive, its interval above 0 and its corrected p below `alpha`."""
        return bool(self.low[index] > 0 and self.p_corrected[index] < alpha)


def group_means(
    values: np.ndarray,
    names: np.ndarray,
    clusters: np.ndarray,
    *,
    min_examples: int,
    seed: int,
    labels: Sequence[str] | None = None,
) -> GroupMeans:
    """Measure every group of at least `min_examples` rows.

    Args:
        values: activation of each row, float64 [n]. names: group of each row, str [n]; "" is no group.
        clusters: [n], equal where two rows are not independent.
        seed: of resamples and permutations.
        labels: sorted names of which `names` are then the indices, int [n]; sorting a million names takes seconds.

    Cost: a few passes over n, and resamples x min(units, 4096) x groups. Raises UsageError when no group is large
    enough.
    """
    if labels is None:
        found, index = np.unique(names, return_inverse=True)
        labels, names = found.tolist(), index.reshape(-1)
    counts = np.bincount(names, minlength=len(labels))
    is_named = np.array([name != "" for name in labels])
    is_kept = (counts >= min_examples) & is_named
    if not is_kept.any():
        raise UsageError(
            f"no group has {min_examples} rows (the largest has {counts.max()})",
            expected="a group of min_examples rows",
            todo="lower min_examples, or widen the slice",
        )
    # rows of groups left out are part of the global mean: they are the last group, which is cut off at the end
    k = int(is_kept.sum())
    place = np.where(is_kept, np.cumsum(is_kept) - 1, k)[names]
    grouped = _Grouped(values.astype(np.float64), place, _numbered(clusters), k)
    low, high = grouped.ends(seed)
    p, p_corrected = grouped.tests(seed)
    order = np.argsort(-grouped.delta, kind="stable")
    kept_names = np.array(labels)[is_kept]
    return GroupMeans(
        names=tuple(kept_names[order].tolist()),
        global_mean=float(values.mean()),
        n=grouped.n[order],
        n_clusters=grouped.n_units[order],
        mean=grouped.mean[order],
        std=grouped.std[order],
        delta=grouped.delta[order],
        low=low[order],
        high=high[order],
        p=p[order],
        p_corrected=p_corrected[order],
        effect=grouped.effects()[order],
        n_left_out=int(((counts > 0) & (counts < min_examples) & is_named).sum()),
        rows_left_out=int(counts[~is_kept].sum()),
    )


def _numbered(clusters: np.ndarray) -> np.ndarray | None:
    """Numbers from 0 for the clusters; None where every row is one of its own."""
    if clusters.dtype.kind in "iu":
        if (np.diff(clusters) > 0).all():
            return None
        if clusters.min() >= 0 and clusters.max() < MOST_CELLS:  # small numbers need no sorting
            is_there = np.bincount(clusters) > 0
            return None if is_there.sum() == len(clusters) else (np.cumsum(is_there) - 1)[clusters]
    known, index = np.unique(clusters, return_inverse=True)
    return None if len(known) == len(clusters) else index.reshape(-1)


class _Grouped:
    """Rows by group. Group k holds the rows of groups left out."""

    def __init__(self, y: np.ndarray, place: np.ndarray, units: np.ndarray | None, k: int) -> None:
        self.y, self.place, self.units, self.k = y, place, units, k
        self.n_all = np.bincount(place, minlength=k + 1)
        self.n = self.n_all[:k]
        self.centred = y - y.mean()
        sums = np.bincount(place, weights=self.centred, minlength=k + 1)[:k]
        self.delta = sums / self.n
        self.mean = y.mean() + self.delta
        squares = np.bincount(place, weights=np.square(self.centred), minlength=k + 1)
        self.total_squares = float(squares.sum())
        self.squares = np.maximum(squares[:k] - self.n * self.delta**2, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.std = np.sqrt(self.squares / (self.n - 1))
        # a pair is the rows of one unit in one group; where every row is its own unit, a row
        self.pair_unit, self.pair_place, self.pair_sum, self.pair_n = self._pairs()
        self.n_units = np.bincount(self.pair_place, minlength=k + 1)[:k]

    @property
    def n_units_all(self) -> int:
        return len(self.y) if self.units is None else int(self.units.max()) + 1

    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        if self.units is None:
            return np.arange(len(self.y)), self.place, self.centred, np.ones(len(self.y))
        width = self.k + 1
        cell = self.units * width + self.place
        if self.n_units_all * width > MOST_CELLS:
            known, pair, counts = np.unique(cell, return_inverse=True, return_counts=True)
            sums = np.bincount(pair.reshape(-1), weights=self.centred)
        else:
            counts = np.bincount(cell)
            known = np.flatnonzero(counts)
            sums, counts = np.bincount(cell, weights=self.centred)[known], counts[known]
        return known // width, known % width, sums, counts.astype(np.float64)

    def effects(self) -> np.ndarray:
        n = len(self.y)
        rest_n = n - self.n
        with np.errstate(invalid="ignore", divide="ignore"):
            rest_delta = -self.n * self.delta / rest_n
            within = self.total_squares - self.n * self.delta**2 - rest_n * rest_delta**2
            found: np.ndarray = (self.delta - rest_delta) / np.sqrt(np.maximum(within, 0) / (n - 2))
        return np.where(np.isfinite(found), found, np.nan)

    def ends(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Bootstrap ends; by t where a group has few clusters; NaN below two."""
        enough = self.n_units >= FEW_CLUSTERS
        low, high = np.empty((2, self.k)) if enough.all() else self._t_ends()
        if enough.any():
            width = self.k + 1
            bundle, n_bundles = bundle_units(self.pair_unit, self.n_units_all, seed=seed), N_BUNDLES
            if bundle is None:
                bundle, n_bundles = self.pair_unit, self.n_units_all
            cell = bundle * width + self.pair_place
            cells = [np.bincount(cell, weights=part, minlength=n_bundles * width).reshape(n_bundles, width)
                     for part in (self.pair_sum, self.pair_n)]  # fmt: skip
            table, drawn = np.concatenate(cells, axis=1), []
            for counts in draw_counts(n_bundles, N_RESAMPLES, seed):
                sums = counts @ table
                with np.errstate(invalid="ignore", divide="ignore"):
                    means = sums[:, : self.k] / sums[:, width : width + self.k]
                drawn.append(means - (sums[:, :width].sum(axis=1) / sums[:, width:].sum(axis=1))[:, None])
            resampled = np.concatenate(drawn)[:, enough]
            low[enough], high[enough] = column_quantiles(resampled, np.array([0.025, 0.975]))
        return low, high

    def _t_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the linearised difference: a unit counts by its sum in the group less its share in the mean of all."""
        n, k, g = len(self.y), self.k, self.n_units
        kept = self.pair_place < k
        place, unit = self.pair_place[kept], self.pair_unit[kept]
        everything = np.bincount(self.pair_unit, weights=self.pair_sum, minlength=self.n_units_all) / n
        own = (self.pair_sum[kept] - self.pair_n[kept] * self.delta[place]) / self.n[place]
        moved = np.square(own) - 2 * own * everything[unit]
        squares = np.bincount(place, weights=moved, minlength=k) + np.square(everything).sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            step = student_quantile(0.975, g - 1) * np.sqrt(np.maximum(squares, 0) * g / (g - 1))
        step = np.where(g >= 2, step, np.nan)
        return self.delta - step, self.delta + step

    def tests(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """p alone and corrected over the groups."""
        if self.units is None:
            return deal_groups(self.centred, self.place, self.k, seed=seed)
        # a group's sum has one part of each unit: dealing the parts alone gives it the variance that it has
        in_mixed = (np.bincount(self.pair_unit)[self.pair_unit] > 1) @ self.pair_n
        if in_mixed < MIXED_SHARE * len(self.y):
            return deal_groups(self.pair_sum, self.pair_place, self.k, sizes=self.pair_n, seed=seed)
        return deal_groups(self.centred, self.place, self.k, strata=self.units, seed=seed)
