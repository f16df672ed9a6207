"""Rows grouped by a name they have: each group's mean activation held against the mean of all rows, zeros included.

    delta       mean of the group minus mean of all rows
    interval    cluster bootstrap of that difference, 2000 resamples; t of the linearised difference below 40 clusters
    p           units (clusters) dealt anew among the groups; T = (mean - global mean) / sqrt(sum c^2) * sum c over the
                units' sizes c; corrected over all groups by max-T. Where a unit has rows of several groups, rows are
                dealt anew within the units instead
    effect      Cohen's d of the group against all other rows
Everything is an association.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from mechscope.core import UsageError, numpy_generator
from mechscope.experiments.cells import flag_of
from mechscope.stats import FEW_CLUSTERS, max_t

__all__ = ["GROUP_COLUMNS", "GroupMeans", "group_means"]

N_RESAMPLES = 2000
N_PERMUTATIONS = 1999
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
    values: np.ndarray, names: np.ndarray, clusters: np.ndarray, *, min_examples: int, seed: int
) -> GroupMeans:
    """Measure every group of at least `min_examples` rows.

    Args:
        values: activation of each row, float64 [n]. names: group of each row, str [n]; "" is no group.
        clusters: [n], equal where two rows are not independent.
        seed: of resamples and permutations.

    Cost: O((resamples + permutations) n). Raises UsageError when no group is large enough.
    """
    known, index, counts = np.unique(names, return_inverse=True, return_counts=True)
    is_kept = (counts >= min_examples) & (known != "")
    if not is_kept.any():
        raise UsageError(
            f"no group has {min_examples} rows (the largest has {counts.max()})",
            expected="a group of min_examples rows",
            todo="lower min_examples, or widen the slice",
        )
    # rows of groups left out are part of the global mean: they are the last group, which is cut off at the end
    place = np.where(is_kept, np.cumsum(is_kept) - 1, int(is_kept.sum()))[index.reshape(-1)]
    _, units = np.unique(clusters, return_inverse=True)
    k = int(is_kept.sum())
    grouped = _Grouped(values, place, units.reshape(-1), k)
    low, high = grouped.ends(seed)
    p, p_corrected = grouped.tests(seed)
    order = np.argsort(-grouped.delta, kind="stable")
    kept_names = known[is_kept]
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
        n_left_out=int(((counts < min_examples) & (known != "")).sum()),
        rows_left_out=int(counts[~is_kept].sum()),
    )


class _Grouped:
    """Rows in the order of their groups, so that sums of a group are sums of a stretch."""

    def __init__(self, values: np.ndarray, place: np.ndarray, units: np.ndarray, k: int) -> None:
        self.y, self.place, self.units, self.k = values.astype(np.float64), place, units, k
        self.n = np.bincount(place, minlength=k)[:k]
        sums = np.bincount(place, weights=self.y, minlength=k)[:k]
        self.mean = sums / self.n
        self.delta = self.mean - self.y.mean()
        squares = np.bincount(place, weights=self.y**2, minlength=k)[:k] - self.n * self.mean**2
        with np.errstate(invalid="ignore", divide="ignore"):
            self.std = np.sqrt(np.maximum(squares, 0) / (self.n - 1))
        pairs = np.unique(np.stack([place, units]), axis=1)
        self.n_units = np.bincount(pairs[0], minlength=k)[:k]
        self.is_whole = pairs.shape[1] == len(np.unique(units))

    def effects(self) -> np.ndarray:
        total, n = self.y.sum(), len(self.y)
        rest_n = n - self.n
        with np.errstate(invalid="ignore", divide="ignore"):
            rest_mean = (total - self.n * self.mean) / rest_n
            squares = float(np.square(self.y).sum()) - self.n * self.mean**2 - rest_n * rest_mean**2
            found: np.ndarray = (self.mean - rest_mean) / np.sqrt(np.maximum(squares, 0) / (n - 2))
        return np.where(np.isfinite(found), found, np.nan)

    def ends(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Bootstrap ends; by t where a group has few clusters; NaN below two."""
        low, high = self._t_ends()
        enough = self.n_units >= FEW_CLUSTERS
        if enough.any():
            order = np.argsort(self.place, kind="stable")
            starts = np.searchsorted(self.place[order], np.arange(int(self.place.max()) + 1))
            y, units = self.y[order], self.units[order]
            generator, n_units = numpy_generator(seed, "group bootstrap"), int(self.units.max()) + 1
            drawn = []
            for _ in range(N_RESAMPLES):
                weights = np.bincount(generator.integers(0, n_units, n_units), minlength=n_units)[units]
                weighted = weights * y
                with np.errstate(invalid="ignore", divide="ignore"):
                    means = np.add.reduceat(weighted, starts) / np.add.reduceat(weights, starts)
                drawn.append((means - weighted.sum() / weights.sum())[: self.k])
            found = np.nanpercentile(np.stack(drawn)[:, enough], [2.5, 97.5], axis=0)
            low[enough], high[enough] = found
        return low, high

    def _t_ends(self) -> tuple[np.ndarray, np.ndarray]:
        n_units, n = int(self.units.max()) + 1, len(self.y)
        everything = np.bincount(self.units, weights=self.y - self.y.mean(), minlength=n_units) / n
        low, high = np.full(self.k, np.nan), np.full(self.k, np.nan)
        for group in np.flatnonzero(self.n_units >= 2):
            here = self.place == group
            own = np.bincount(self.units[here], weights=self.y[here] - self.mean[group], minlength=n_units)
            g = self.n_units[group]
            error = np.sqrt(np.square(own / self.n[group] - everything).sum() * g / (g - 1))
            step = student.ppf(0.975, g - 1) * error
            low[group], high[group] = self.delta[group] - step, self.delta[group] + step
        return low, high

    def tests(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """p alone and corrected over the groups."""
        if self.is_whole:
            _, first = np.unique(self.units, return_index=True)
            place, strata = self.place[first], np.zeros(len(first), np.int64)
            sums, sizes = np.bincount(self.units, weights=self.y - self.y.mean()), np.bincount(self.units)
        else:
            place, strata = self.place, self.units
            sums, sizes = self.y - self.y.mean(), np.ones(len(self.y), np.int64)
        order = np.argsort(place, kind="stable")
        starts = np.searchsorted(place[order], np.arange(int(place.max()) + 1))
        sums, sizes, strata = sums[order], sizes[order].astype(np.float64), strata[order]

        def statistic(at: np.ndarray) -> np.ndarray:
            parts = (np.add.reduceat(x, starts)[: self.k] for x in (sums[at], np.square(sizes[at])))
            top, squares = parts
            found: np.ndarray = np.abs(top) / np.sqrt(squares)
            return found

        seen = statistic(np.arange(len(sums)))
        blocks = list(self._dealt(statistic, strata, seed))
        alone = sum((block >= seen * (1 - 1e-9)).sum(axis=0) for block in blocks)
        n_dealt = sum(len(block) for block in blocks)
        return (1 + alone) / (1 + n_dealt), max_t(seen, blocks)

    def _dealt(self, statistic: Any, strata: np.ndarray, seed: int) -> Iterator[np.ndarray]:
        generator = numpy_generator(seed, "group permutation")
        by_stratum = np.argsort(strata, kind="stable")
        rows = []
        for _ in range(N_PERMUTATIONS):
            if strata.any():
                at = np.empty(len(strata), np.int64)
                at[by_stratum] = np.lexsort((generator.random(len(strata)), strata))
            else:
                at = generator.permutation(len(strata))
            rows.append(statistic(at))
        yield np.stack(rows)
