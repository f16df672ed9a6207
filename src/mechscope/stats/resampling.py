"""Draws of clusters, and bootstrap ends of differences of weighted means under them.

1. Each of B resamples draws G clusters with replacement; W [B, G] counts how often each was drawn.
2. With S and N the sums of values and of weights of clusters, all resampled means are (W S) / (W N).
3. Percentile ends are quantiles of the B estimates. BCa ends (Efron 1987) shift those quantiles by the bias z0 = the
   normal quantile of the share of resampled estimates below the estimate, and by the acceleration
   a = sum(u^3) / (6 sum(u^2)^1.5), u = mean of the leave-one-cluster-out estimates minus each of them.
The draws are those of `scipy.stats.bootstrap`, so that without clusters both agree resample by resample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from mechscope.stats.distributions import normal_quantile
from mechscope.stats.samples import ClusterSums

__all__ = ["column_quantiles", "draw_counts", "resampled_ends"]

TOLERANCE = 1e-9
BLOCK_NUMBERS = 250_000  # numbers in one block of draws (2 MB: it stays in the cache)
KEPT_NUMBERS = 1 << 22  # numbers of draws that are kept for the next table: 32 MB
BLOCK_MEANS = 4_000_000  # numbers in one block of resampled means: 32 MB


def draw_counts(n_clusters: int, n_resamples: int, seed: int) -> Iterable[np.ndarray]:
    """Blocks [b, clusters] of how often each cluster is drawn; the draws do not depend on the size of the blocks.

    Small draws are kept until others are asked for, since tables of the same clusters follow each other.
    """
    if n_clusters * n_resamples <= KEPT_NUMBERS:
        return _kept_counts(n_clusters, n_resamples, seed, BLOCK_NUMBERS)
    return _drawn_counts(n_clusters, n_resamples, seed)


@lru_cache(maxsize=1)
def _kept_counts(n_clusters: int, n_resamples: int, seed: int, block: int) -> tuple[np.ndarray, ...]:
    del block  # only tells apart what was kept under other sizes of blocks
    return tuple(_drawn_counts(n_clusters, n_resamples, seed))


def _drawn_counts(n_clusters: int, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    n_block = max(1, BLOCK_NUMBERS // n_clusters)
    for start in range(0, n_resamples, n_block):
        n_rows = min(n_block, n_resamples - start)
        drawn = generator.integers(0, n_clusters, (n_rows, n_clusters))
        drawn += np.arange(n_rows)[:, None] * n_clusters
        counts = np.bincount(drawn.ravel(), minlength=n_rows * n_clusters)
        yield counts.reshape(n_rows, n_clusters).astype(np.float64)


def resampled_ends(
    terms: Sequence[ClusterSums], cells: np.ndarray, *, seed: int, n_resamples: int, level: float, is_bca: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ends [len(cells)] for a mean (one term) or a difference of means (two terms: first minus second).

    A resample in which a cell has no value on a side is left out for that cell.
    Cost: O(B G cells); memory: blocks of 32 MB, whatever the sizes.
    """
    low, high = np.empty(len(cells)), np.empty(len(cells))
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    n_block = max(1, BLOCK_MEANS // n_resamples)
    for start in range(0, len(cells), n_block):
        here = slice(start, start + n_block)
        part = [(term.sums[:, cells[here]], term.weights[:, cells[here]]) for term in terms]
        blocks = draw_counts(len(terms[0].sums), n_resamples, seed)
        drawn = _resampled(part, blocks)
        if is_bca:
            shares = _bca_shares(drawn, part, normal_quantile(tails))
            ends = [np.nanquantile(drawn[:, i], share) for i, share in enumerate(shares)]
            low[here], high[here] = np.array(ends).T
        else:
            low[here], high[here] = column_quantiles(drawn, tails)
    return low, high


def _resampled(part: Sequence[tuple[np.ndarray, np.ndarray]], blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The estimates of every resample, [B, cells]."""
    # cells along rows, sums and weights of all terms in one product: narrow tables are slow to multiply one by one
    columns = [column for term in part for column in (term[0], _once(term[1]))]
    ends = np.cumsum([column.shape[1] for column in columns])[:-1]
    table = np.ascontiguousarray(np.concatenate(columns, axis=1).T)
    found = []
    for counts in blocks:
        totals = np.split(table @ counts.T, ends)
        found.append(_estimates([(totals[at], totals[at + 1]) for at in range(0, len(totals), 2)]))
    return np.concatenate(found, axis=1).T


def column_quantiles(drawn: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Quantiles of each column [B, cells], NaN left out, as `np.nanquantile` has them, [shares, cells]."""
    # a resample without any value of a cell is rare, and nanquantile goes cell by cell
    if np.isnan(drawn).any():
        return np.asarray(np.nanquantile(drawn, shares, axis=0))
    # to sort takes a third of the time of taking a row apart at four places
    ordered = np.sort(drawn.T, axis=1)
    at = shares * (len(drawn) - 1)
    below = np.minimum(at.astype(np.int64), max(0, len(drawn) - 2))
    left, right = ordered[:, below], ordered[:, np.minimum(below + 1, len(drawn) - 1)]
    found: np.ndarray = (left + (right - left) * (at - below)).T
    return found


def _once(weights: np.ndarray) -> np.ndarray:
    """Weights [G, cells]; one column of them where all cells have the same."""
    return weights[:, :1] if (weights == weights[:, :1]).all() else weights


def _estimates(sums: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [total / weight for total, weight in sums]
    return means[0] if len(means) == 1 else np.asarray(means[0] - means[1])


def _bca_shares(drawn: np.ndarray, part: Sequence[tuple[np.ndarray, np.ndarray]], z: np.ndarray) -> np.ndarray:
    """The shares [cells, 2] whose quantiles of the resampled estimates [B, cells] are the BCa ends."""
    totals = [(s.sum(axis=0), w.sum(axis=0)) for s, w in part]
    value = _estimates(totals)
    # resamples that differ from the estimate by rounding only are ties, and count half
    rounding = TOLERANCE * np.nanstd(drawn, axis=0) + np.finfo(float).eps * 100 * np.abs(value)
    n_below = (drawn < value - rounding).sum(axis=0) + (drawn <= value + rounding).sum(axis=0)
    below = n_below / (2 * (~np.isnan(drawn)).sum(axis=0))
    bias = normal_quantile(below)[:, None]
    left = _estimates([(ts - s, tw - w) for (s, w), (ts, tw) in zip(part, totals, strict=True)])
    centred = np.nanmean(left, axis=0) - left
    with np.errstate(invalid="ignore", divide="ignore"):
        acceleration = (np.nansum(centred**3, axis=0) / (6 * np.nansum(centred**2, axis=0) ** 1.5))[:, None]
    # cells without spread have all resampled means alike: any share gives them
    bias, acceleration = np.where(np.isfinite(bias), bias, 0), np.where(np.isfinite(acceleration), acceleration, 0)
    shares: np.ndarray = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
    return shares
