"""Whether groups differ: units dealt anew among the groups, all groups under the same dealings.

T of a group is the size of the sum of its units' sums (taken from the mean of all) over the root of the sum of the
squares of their sizes. Up to 8192 units each dealing is made. Beyond, where units are single rows, only the groups'
sums are drawn, since nothing else is looked at:

    few rows differ from 0 (up to 8192)   how many of them each group gets (multivariate hypergeometric), then which
    otherwise, groups that expect under 60 of them     how many (hypergeometric), then their values one by one
    the other groups   normal, with the variances and covariances of the dealing itself
"""

from __future__ import annotations

import numpy as np

from mechscope.core import numpy_generator
from mechscope.stats.max_t import max_t

__all__ = ["MOST_DEALT", "N_PERMUTATIONS", "deal_groups"]

N_PERMUTATIONS = 1999
MOST_DEALT = 8192
MANY = 60


def deal_groups(
    sums: np.ndarray,
    place: np.ndarray,
    k: int,
    *,
    seed: int,
    sizes: np.ndarray | None = None,
    strata: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """p of each group alone and corrected over the groups by max-T, each [k].

    Args:
        sums: of each unit, less what the mean of all gives it, [units].
        place: its group, 0 to k - 1, or k for those that are not tested, [units].
        seed: of the dealings.
        sizes: rows of each unit; None when each is one row.
        strata: units are dealt within equal numbers only.
    """
    n = np.bincount(place, minlength=k + 1)
    squared = None if sizes is None else np.square(sizes)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = n[:k] if squared is None else np.bincount(place, weights=squared, minlength=k + 1)[:k]
        seen = np.abs(np.bincount(place, weights=sums, minlength=k + 1)[:k]) / np.sqrt(weight)
    if len(sums) > MOST_DEALT and squared is None and strata is None:
        dealt = np.abs(_drawn_sums(sums, n, numpy_generator(seed, "group dealing"))[:, :k]) / np.sqrt(n[:k])
    else:
        dealt = _dealt(sums, place, k, squared, strata, seed)
    alone = (dealt >= seen * (1 - 1e-9)).sum(axis=0)
    return (1 + alone) / (1 + N_PERMUTATIONS), max_t(seen, [dealt])


def _dealt(
    sums: np.ndarray, place: np.ndarray, k: int, squared: np.ndarray | None, strata: np.ndarray | None, seed: int
) -> np.ndarray:
    """The statistics of every dealing, [dealings, k]."""
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(int(place.max()) + 1))
    sums = sums[order]
    root = np.sqrt(np.diff([*starts, len(sums)])[:k])
    if squared is not None:
        squared = squared[order]
    generator = numpy_generator(seed, "group permutation")
    by_stratum = None if strata is None else np.argsort(strata[order], kind="stable")
    rows = []
    for _ in range(N_PERMUTATIONS):
        if strata is None or by_stratum is None:
            at = generator.permutation(len(sums))
        else:
            at = np.empty(len(sums), np.int64)
            at[by_stratum] = np.lexsort((generator.random(len(sums)), strata[order]))
        if squared is not None:
            root = np.sqrt(np.add.reduceat(squared[at], starts)[:k])
        rows.append(np.abs(np.add.reduceat(sums[at], starts)[:k]) / root)
    return np.stack(rows)


def _drawn_sums(sums: np.ndarray, n: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The groups' sums under dealings of single rows, [dealings, groups]; `n` rows each, together all of them."""
    low = float(sums.min())
    active = sums[sums > low] - low
    if len(active) <= MOST_DEALT:
        return _dealt_active(active, n, generator) + n * low
    total = len(sums)
    scale = float(sums.std()) * np.sqrt(total / (total - 1) * n)
    share = np.sqrt(n / total)
    drawn = generator.standard_normal((N_PERMUTATIONS, len(n)))
    drawn -= (drawn @ share)[:, None] * share
    drawn *= scale
    for group in np.flatnonzero(n * len(active) < MANY * total):
        counts = generator.hypergeometric(len(active), total - len(active), int(n[group]), N_PERMUTATIONS)
        values = active[generator.integers(0, len(active), int(counts.sum()))]
        owner = np.repeat(np.arange(N_PERMUTATIONS), counts)
        drawn[:, group] = np.bincount(owner, weights=values, minlength=N_PERMUTATIONS) + n[group] * low
    return drawn


def _dealt_active(active: np.ndarray, n: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Sums of the active rows alone: the others add nothing, so only who gets how many and which of them matters."""
    counts = generator.multivariate_hypergeometric(n, len(active), N_PERMUTATIONS, method="marginals")
    ends = np.cumsum(counts, axis=1)
    found = np.empty(counts.shape)
    for at in range(N_PERMUTATIONS):
        upto = np.concatenate([[0.0], np.cumsum(active[generator.permutation(len(active))])])
        found[at] = np.diff(upto[ends[at]], prepend=0.0)
    return found
