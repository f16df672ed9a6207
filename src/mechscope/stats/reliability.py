"""Split-half reliability of the scores of many items.

1. Samples (whole clusters) are split at random into two halves; the score of an item is its mean over a half.
2. r is the correlation over items of the scores from one half with those from the other.
3. Scores from all samples are as reliable as 2 r / (1 + r) (Spearman 1910, Brown 1910).
Many splits are averaged. For a true spread a^2 of items and noise b^2 of a mean over half the samples,
r = a^2 / (a^2 + b^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from mechscope.core import UsageError
from mechscope.stats.samples import ClusterSums, as_cells, as_clusters, check_resamples

__all__ = ["Reliability", "split_half"]

N_ITEMS_FEWEST = 3


@dataclass(frozen=True)
class Reliability:
    """How well scores of items would come out again.

    Attributes:
        value: Spearman-Brown reliability of the scores from all samples, from the mean r over splits.
        low, high: the middle 95 % over splits; how much the choice of halves matters, no confidence interval.
        half: mean correlation of two halves.
        n: samples.
        n_clusters: independent units that were split.
        n_items: items.
        n_splits: random splits.
        method: how, in words.
    """

    value: float
    low: float
    high: float
    half: float
    n: int
    n_clusters: int
    n_items: int
    n_splits: int
    method: str


def split_half(
    values: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    kind: Literal["pearson", "spearman"] = "pearson",
    n_splits: int = 100,
) -> Reliability:
    """Split-half reliability of the means of items, from `values` [n, items], NaN for missing.

    Items that have no value in a half are left out of that split; halves whose scores are all alike agree on nothing,
    and count as r = 0. Cost: O(n_splits G items).

    Args:
        seed: of the splits.
        clusters: [n], samples with equal names stay in one half.
        kind: "spearman" to compare the order of items only.
        n_splits: how many random splits to average.

    Raises:
        UsageError: infinite values, fewer than four samples or clusters, fewer than three items with values in both
            halves, or scores without spread.
    """
    table = as_cells(values, n_fewest=4)
    n_items = int((~np.isnan(table)).any(axis=0).sum())
    if n_items < N_ITEMS_FEWEST:
        raise _too_few(n_items)
    groups = as_clusters(clusters, len(table), n_fewest=4)
    sums = ClusterSums.of(table, groups)
    n_units = len(sums.sums)
    keys = np.random.default_rng(seed).random((check_resamples(n_splits, "n_splits"), n_units))
    in_first = (np.argsort(keys, axis=1) < n_units // 2).astype(np.float64)
    with np.errstate(invalid="ignore"):
        whole = sums.sums.sum(axis=0) / sums.weights.sum(axis=0)
        first = (in_first @ sums.sums) / (in_first @ sums.weights)
        second = ((1 - in_first) @ sums.sums) / ((1 - in_first) @ sums.weights)
    if not _has_spread(whole[~np.isnan(whole)]):
        raise UsageError("scores without spread", expected="items that differ", todo="leave out constant items")
    r = np.array([_correlation(a, b, kind) for a, b in zip(first, second, strict=True)])
    raised = _spearman_brown(r)
    low, high = np.quantile(raised, [0.025, 0.975])
    half = float(r.mean())
    method = f"Spearman-Brown of {kind} r over {n_splits} random halves{'' if clusters is None else ' of clusters'}"
    value = float(_spearman_brown(np.array([half]))[0])
    return Reliability(value, float(low), float(high), half, len(table), n_units, n_items, n_splits, method)


def _too_few(n_items: int) -> UsageError:
    return UsageError(
        f"{n_items} items with values in both halves",
        expected=f"at least {N_ITEMS_FEWEST}",
        todo="take more samples, or leave out items with few values",
    )


def _spearman_brown(r: np.ndarray) -> np.ndarray:
    """2 r / (1 + r); r itself where it is negative, for which the formula has no meaning."""
    raised: np.ndarray = np.where(r > 0, 2 * r / (1 + np.maximum(r, 0)), r)
    return raised


def _correlation(first: np.ndarray, second: np.ndarray, kind: str) -> float:
    is_known = ~(np.isnan(first) | np.isnan(second))
    if is_known.sum() < N_ITEMS_FEWEST:
        raise _too_few(int(is_known.sum()))
    a, b = first[is_known], second[is_known]
    if kind == "spearman":
        a, b = rankdata(a), rankdata(b)
    if not (_has_spread(a) and _has_spread(b)):
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _has_spread(scores: np.ndarray) -> bool:
    """Whether the scores differ by more than rounding."""
    return float(np.ptp(scores)) > 1e-13 * float(np.abs(scores).max())
