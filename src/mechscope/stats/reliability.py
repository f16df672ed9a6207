"""Split-half reliability of the scores of many items, with an interval over samples.

1. Samples (whole clusters) are dealt at random into at most 40 blocks; the blocks are split at random into two halves,
   many times. The score of an item is its mean over a half.
2. r is the correlation over items of the scores from one half with those from the other, averaged over the splits.
3. Scores from all samples are as reliable as R = 2 r / (1 + r) (Spearman 1910, Brown 1910).
For a true spread a^2 of items and noise b^2 of a mean over half the samples, r = a^2 / (a^2 + b^2).
The interval is the jackknife's: each block is left out in turn from every split, z = atanh(r) each time, and
se^2 = (G - 1) / G sum (z_g - mean z)^2 over the G blocks (Efron and Tibshirani 1993, section 11.5), t(G - 1). It says
how far R would be elsewhere for other samples and the same items. Resampling with replacement is of no use here: it
puts copies of one sample into both halves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechscope.core import UsageError
from mechscope.stats.distributions import student_quantile
from mechscope.stats.ranking import midranks
from mechscope.stats.samples import ClusterSums, as_cells, as_clusters, check_resamples

__all__ = [
    "MOST_BLOCKS",
    "Reliability",
    "deal_blocks",
    "draw_splits",
    "half_correlation",
    "reliability_of_blocks",
    "spearman_brown",
    "split_half",
]

N_ITEMS_FEWEST, N_BLOCKS_FEWEST, MOST_BLOCKS = 3, 4, 40
ROUNDING = 1e-13  # of the largest score: scores that differ by less do not differ
Correlation = Literal["pearson", "spearman"]


@dataclass(frozen=True)
class Reliability:
    """How well scores of items would come out again.

    Attributes:
        value: Spearman-Brown reliability of the scores from all samples, from the mean r over splits.
        low, high: 95 % interval over samples, by the jackknife; -1 and 1 where r is 1 or -1 or has no spread to tell.
        half: mean correlation of two halves.
        n: samples. n_clusters: independent units that were split. n_blocks: what they were dealt into.
        n_items: items. n_splits: random splits.
        method: how, in words.
    """

    value: float
    low: float
    high: float
    half: float
    n: int
    n_clusters: int
    n_blocks: int
    n_items: int
    n_splits: int
    method: str


def split_half(
    values: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    kind: Correlation = "pearson",
    n_splits: int = 100,
) -> Reliability:
    """Split-half reliability of the means of items, from `values` [n, items], NaN for missing.

    Items that have no value in a half are left out of that split; halves whose scores are all alike agree on nothing,
    and count as r = 0. Cost: O(n items + n_splits G^2 items), G the blocks.

    Args:
        seed: of the blocks and the splits.
        clusters: [n], samples with equal names stay in one half.
        kind: "spearman" to compare the order of items only.
        n_splits: how many random splits to average.

    Raises:
        UsageError: infinite values, fewer than four samples or clusters, fewer than three items with values in both
            halves, or scores without spread.
    """
    table = as_cells(values, n_fewest=N_BLOCKS_FEWEST)
    groups = as_clusters(clusters, len(table), n_fewest=N_BLOCKS_FEWEST)
    n_units = int(groups.max()) + 1
    sums = ClusterSums.of(table, deal_blocks(n_units, seed=seed)[groups])
    over = "samples" if clusters is None else "clusters"
    return reliability_of_blocks(
        sums.sums, sums.weights, seed=seed, kind=kind, n_splits=n_splits, n=len(table), n_clusters=n_units, over=over
    )


def deal_blocks(n_units: int, *, seed: int) -> np.ndarray:
    """The block of each unit, 0 to G - 1 in as equal numbers as can be, G at most 40; int64 [n_units]."""
    if n_units <= MOST_BLOCKS:
        return np.arange(n_units)
    dealt: np.ndarray = np.random.default_rng([seed, 1]).permutation(np.arange(n_units) % MOST_BLOCKS)
    return dealt


def reliability_of_blocks(
    sums: np.ndarray,
    counts: np.ndarray,
    *,
    seed: int,
    n: int,
    n_clusters: int,
    kind: Correlation = "pearson",
    n_splits: int = 100,
    over: str = "samples",
) -> Reliability:
    """As `split_half`, from the sums and the counts of the values of each block and item, both [blocks, items].

    Args:
        n, n_clusters, over: samples and units behind the blocks, and what the units are, for the report.

    Raises:
        UsageError: fewer than three items with values in both halves, or scores without spread.
    """
    n_blocks, n_items = len(sums), int((counts.sum(axis=0) > 0).sum())
    if n_items < N_ITEMS_FEWEST:
        raise _too_few(n_items)
    splits = draw_splits(n_blocks, n_splits, seed=seed)
    with np.errstate(invalid="ignore"):
        whole = sums.sum(axis=0) / counts.sum(axis=0)
    if not _has_spread(whole[~np.isnan(whole)][None])[0]:
        raise UsageError("scores without spread", expected="items that differ", todo="leave out constant items")
    half = half_correlation(sums, counts, splits, kind=kind)
    left_out = np.array([half_correlation(sums, counts, splits, kind=kind, without=g) for g in range(n_blocks)])
    low, high = _jackknife_ends(half, left_out)
    method = f"Spearman-Brown of {kind} r over {n_splits} random halves of {over}, jackknife over {n_blocks} blocks"
    value, low, high = (float(end) for end in spearman_brown(np.array([half, low, high])))
    return Reliability(value, low, high, half, n, n_clusters, n_blocks, n_items, n_splits, method)


def draw_splits(n_blocks: int, n_splits: int, *, seed: int) -> np.ndarray:
    """Which blocks are in the first half, 0 and 1 as float64 [n_splits, n_blocks]."""
    keys = np.random.default_rng(seed).random((check_resamples(n_splits, "n_splits"), n_blocks))
    in_first: np.ndarray = (np.argsort(keys, axis=1) < n_blocks // 2).astype(np.float64)
    return in_first


def half_correlation(
    sums: np.ndarray, counts: np.ndarray, splits: np.ndarray, *, kind: Correlation = "pearson", without: int = -1
) -> float:
    """Mean correlation of the two halves over the splits, leaving out the block `without`."""
    here = np.arange(len(sums)) != without
    in_first = splits[:, here]
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = ((side @ sums[here]) / (side @ counts[here]) for side in (in_first, 1 - in_first))
    return float(_correlations(first, second, kind).mean())


def spearman_brown(r: np.ndarray) -> np.ndarray:
    """2 r / (1 + r); r itself where it is negative, for which the formula has no meaning."""
    raised: np.ndarray = np.where(r > 0, 2 * r / (1 + np.maximum(r, 0)), r)
    return raised


def _jackknife_ends(half: float, left_out: np.ndarray) -> tuple[float, float]:
    if abs(half) >= 1 or (np.abs(left_out) >= 1).any():
        return (-1.0, 1.0) if np.ptp(left_out) > 0 else (half, half)
    z, g = np.arctanh(left_out), len(left_out)
    step = float(student_quantile(0.975, g - 1)) * float(np.sqrt((g - 1) / g * np.square(z - z.mean()).sum()))
    centre = float(np.arctanh(half))
    return float(np.tanh(centre - step)), float(np.tanh(centre + step))


def _too_few(n_items: int) -> UsageError:
    return UsageError(
        f"{n_items} items with values in both halves",
        expected=f"at least {N_ITEMS_FEWEST}",
        todo="take more samples, or leave out items with few values",
    )


def _correlations(first: np.ndarray, second: np.ndarray, kind: str) -> np.ndarray:
    """Correlation of each row of `first` with that of `second` [splits, items], over items known in both; [splits]."""
    known = ~(np.isnan(first) | np.isnan(second))
    n = known.sum(axis=1)
    if n.min() < N_ITEMS_FEWEST:
        raise _too_few(int(n.min()))
    if kind == "pearson" and known.all():
        return _complete_correlations(first, second)
    a, b = (np.where(known, side, np.nan) for side in (first, second))
    if kind == "spearman":
        a, b = (midranks(side) for side in (a, b))
    spread = _has_spread(a) & _has_spread(b)
    a, b = (np.where(known, side - np.nanmean(side, axis=1, keepdims=True), 0.0) for side in (a, b))
    size = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    r: np.ndarray = np.where(spread, (a * b).sum(axis=1) / np.where(spread, size, 1.0), 0.0).clip(-1, 1)
    return r


def _complete_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As `_correlations`, where nothing is missing."""
    spread = np.ones(len(a), bool)
    for side in (a, b):
        low, high = side.min(axis=1), side.max(axis=1)
        spread &= high - low > ROUNDING * np.maximum(np.abs(low), np.abs(high))
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (a, b))
    squares = np.einsum("si,si->s", a, a) * np.einsum("si,si->s", b, b)
    r: np.ndarray = np.where(spread, np.einsum("si,si->s", a, b) / np.sqrt(np.where(spread, squares, 1.0)), 0.0)
    return r.clip(-1, 1)


def _has_spread(scores: np.ndarray) -> np.ndarray:
    """Whether the scores of each row differ by more than rounding."""
    spread: np.ndarray = np.nanmax(scores, axis=1) - np.nanmin(scores, axis=1)
    return np.asarray(spread > ROUNDING * np.nanmax(np.abs(scores), axis=1))
