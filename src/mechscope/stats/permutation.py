"""Permutation tests with exchangeable units, for one column or for many cells under the same rearrangements.

Sign-flip, for differences of pairs: under the null each unit's difference is as likely with the other sign. With D the
sums of a unit [G, cells], T = sum(s D) / sqrt(sum D^2) for signs s; the root does not change with the signs, and T
rises with Student's t, so that ordering by T is ordering by t.
Labels, for two groups: under the null labels may be dealt anew among units (and within strata). T is the difference of
the group means over its standard deviation under dealing, s sqrt(1/n1 + 1/n0) with s that of all values.
p = (1 + hits) / (1 + B) (Phipson and Smyth 2010), B being rearrangements other than the observed one; when there are
few, all are enumerated and the test is exact. Max-T over cells: see `max_t`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

import numpy as np

from mechscope.core import UsageError
from mechscope.stats.dealings import deal_labels
from mechscope.stats.max_t import TOLERANCE, HitCounts
from mechscope.stats.results import CellTests, Test
from mechscope.stats.samples import ClusterSums, as_cells, as_clusters, as_column, as_labels, check_resamples

__all__ = ["Alternative", "permute_labels", "permute_labels_cells", "sign_flip", "sign_flip_cells"]

Alternative = Literal["two-sided", "greater", "less"]
BLOCK_NUMBERS = 250_000  # 2 MB: a block that stays in the cache, and whose pages are used again
KEPT_NUMBERS = 2_000_000  # signs that are kept for the next table: 8 MB
SINGLE_TOLERANCE = 1e-5  # sums in single precision that differ by less are ties


def sign_flip(
    differences: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    n_permutations: int = 9999,
    alternative: Alternative = "two-sided",
) -> Test:
    """Whether the mean of paired `differences` [n] is 0, by flipping signs of whole clusters.

    Args:
        seed: of the signs.
        clusters: [n], samples with equal names are flipped together.
        n_permutations: B; all 2^G - 1 flips are taken instead when they are no more.
        alternative: "greater" tests for a mean above 0.

    Raises:
        UsageError: NaN, fewer than two samples or clusters, other lengths.

    >>> sign_flip(np.ones(5), seed=0).p
    0.0625
    """
    table = as_column(differences, name="differences")[:, None]
    return sign_flip_cells(
        table, seed=seed, clusters=clusters, n_permutations=n_permutations, alternative=alternative
    ).cell(0)


def sign_flip_cells(
    differences: np.ndarray,
    *,
    seed: int,
    clusters: np.ndarray | None = None,
    n_permutations: int = 9999,
    alternative: Alternative = "two-sided",
    is_step_down: bool = True,
) -> CellTests:
    """Sign-flip tests of `differences` [n, cells], NaN for missing, with max-T over the cells.

    A cell without values has NaN. Cost: O(B G cells) in one matrix product; memory: 2 MB blocks.

    Raises:
        UsageError: infinite values, fewer than two samples or clusters, other lengths.
    """
    table = as_cells(differences, name="differences")
    groups = as_clusters(clusters, len(table))
    sums = ClusterSums.of(table, groups)
    scale = np.sqrt(np.square(sums.sums).sum(axis=0))
    scaled = sums.sums / np.where(scale > 0, scale, 1)
    statistic = np.where(sums.n > 0, scaled.sum(axis=0), np.nan)
    n_units = len(scaled)
    n_all = 2 ** min(n_units, 62)
    is_exact = n_all - 1 <= check_resamples(n_permutations, "n_permutations")
    hits = HitCounts(
        _against(statistic, alternative), is_step_down=is_step_down, size=1.0,
        tolerance=TOLERANCE if is_exact else SINGLE_TOLERANCE,
    )  # fmt: skip
    n_block = max(1, BLOCK_NUMBERS // max(scaled.shape))
    signs = _all_signs(n_units, n_block) if is_exact else _signs(n_units, n_permutations, n_block, seed)
    # drawn signs are in single precision, and so are their sums: rounding is far below what tells two draws apart
    columns = np.ascontiguousarray(scaled[:, hits.order].T, dtype=np.float64 if is_exact else np.float32)
    for block in signs:
        rearranged = columns @ block.T
        hits.add_ordered(_against(rearranged, alternative, out=rearranged))
    with np.errstate(invalid="ignore"):
        value = sums.sums.sum(axis=0) / sums.weights.sum(axis=0)
    method = f"{'exact ' if is_exact else ''}sign-flip{'' if clusters is None else ' of clusters'}, {alternative}"
    return _tests(value, statistic, sums, hits, is_exact, method)


def permute_labels(
    values: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    units: np.ndarray | None = None,
    strata: np.ndarray | None = None,
    n_permutations: int = 9999,
    alternative: Alternative = "two-sided",
) -> Test:
    """Whether `values` [n] have the same mean with and without the label, by dealing labels anew.

    Args:
        labels: boolean [n].
        seed: of the dealings.
        units: [n], samples with equal names keep one label; None when each sample is exchangeable.
        strata: [n], labels are dealt within equal names only (a unit lies in one stratum).
        n_permutations: B; all other dealings are taken instead when they are no more.
        alternative: "greater" tests for a larger mean with the label.

    Raises:
        UsageError: NaN, one label only, labels that differ within a unit, units in two strata, other lengths.
    """
    table = as_column(values)[:, None]
    return permute_labels_cells(
        table, labels, seed=seed, units=units, strata=strata, n_permutations=n_permutations, alternative=alternative
    ).cell(0)


def permute_labels_cells(
    values: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    units: np.ndarray | None = None,
    strata: np.ndarray | None = None,
    n_permutations: int = 9999,
    alternative: Alternative = "two-sided",
    is_step_down: bool = True,
) -> CellTests:
    """Label permutation tests of `values` [n, cells], NaN for missing, with max-T over the cells.

    A cell that lacks values with or without the label has NaN. A dealing that leaves a cell with values on one side
    only is a hit against it. Cost: O(B G cells) in two matrix products; memory: 2 MB blocks.

    Raises:
        UsageError: as `permute_labels`; NaN is allowed.
    """
    table = as_cells(values)
    truth = as_labels(labels, len(table))
    groups = as_clusters(units, len(table))
    centred, deviation = _centred(table)
    sums = ClusterSums.of(centred, groups)
    n_units = len(sums.sums)
    unit_labels = _of_units(truth, groups, n_units, "labels")
    stratum = (
        _of_units(as_clusters(strata, len(table), n_fewest=1), groups, n_units, "strata")
        if strata is not None
        else np.zeros(n_units, np.int64)
    )
    value, statistic = _differences(unit_labels[None].astype(np.float64), sums, deviation)
    statistic = statistic[0]
    n_block = max(1, BLOCK_NUMBERS // max(sums.sums.shape))
    dealings, is_exact = deal_labels(
        unit_labels,
        stratum,
        n_permutations=check_resamples(n_permutations, "n_permutations"),
        n_block=n_block,
        seed=seed,
    )
    hits = HitCounts(_against(statistic, alternative), is_step_down=is_step_down, size=1.0)
    for block in dealings:
        _, rearranged = _differences(block, sums, deviation)
        hits.add(np.where(np.isnan(rearranged), np.inf, _against(rearranged, alternative)))
    within = "" if strata is None else " within strata"
    over = "" if units is None else " of units"
    method = f"{'exact ' if is_exact else ''}permutation of labels{over}{within}, {alternative}"
    return _tests(value[0], statistic, sums, hits, is_exact, method)


def _centred(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells less their means, so that sums lose no digits, and their standard deviations; 0 where only rounding is."""
    is_present = ~np.isnan(table)
    n = np.maximum(is_present.sum(axis=0), 1)
    centred = table - np.where(is_present, table, 0).sum(axis=0) / n
    deviation = np.sqrt(np.where(is_present, centred**2, 0).sum(axis=0) / n)
    largest = np.where(is_present, np.abs(table), 0).max(axis=0)
    return centred, np.where(deviation > 1e-13 * largest, deviation, 0.0)


def _differences(labels: np.ndarray, sums: ClusterSums, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean differences and standardised ones [b, cells] for 0-1 labels of units [b, G]."""
    with_sum, with_n = labels @ sums.sums, labels @ sums.weights
    rest_sum, rest_n = sums.sums.sum(axis=0) - with_sum, sums.weights.sum(axis=0) - with_n
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = with_sum / with_n - rest_sum / rest_n
        scaled = difference / (deviation * np.sqrt(1 / with_n + 1 / rest_n))
    # a cell without spread cannot differ
    return difference, np.where((deviation == 0) & ~np.isnan(difference), 0.0, scaled)


def _against(statistic: np.ndarray, alternative: Alternative, out: np.ndarray | None = None) -> np.ndarray:
    if alternative == "greater":
        return statistic
    against: np.ndarray = {"two-sided": np.abs, "less": np.negative}[alternative](statistic, out=out)
    return against


def _all_signs(n_units: int, n_block: int) -> Iterator[np.ndarray]:
    """All sign vectors but the observed one (all +)."""
    for start in range(1, 2**n_units, n_block):
        codes = np.arange(start, min(start + n_block, 2**n_units))
        yield 1.0 - 2.0 * ((codes[:, None] >> np.arange(n_units)) & 1)


def _signs(n_units: int, n_permutations: int, n_block: int, seed: int) -> Iterable[np.ndarray]:
    """Drawn sign vectors in blocks; the draws do not depend on the size of the blocks.

    Few are kept until others are asked for: tables of the same units follow each other, plain and weighted.
    """
    if n_units * n_permutations > KEPT_NUMBERS:
        return _drawn_signs(n_units, n_permutations, n_block, seed)
    kept = _kept_signs(n_units, n_permutations, seed)
    return (kept[start : start + n_block] for start in range(0, n_permutations, n_block))


@lru_cache(maxsize=1)
def _kept_signs(n_units: int, n_permutations: int, seed: int) -> np.ndarray:
    return next(_drawn_signs(n_units, n_permutations, n_permutations, seed))


def _drawn_signs(n_units: int, n_permutations: int, n_block: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for start in range(0, n_permutations, n_block):
        words = generator.integers(
            0, 1 << 32, (min(n_block, n_permutations - start), -(-n_units // 32)), dtype=np.uint32
        )
        signs = np.unpackbits(words.view(np.uint8), axis=1, count=n_units).view(np.int8)
        signs *= 2
        signs -= 1
        yield signs.astype(np.float32)


def _of_units(names: np.ndarray, units: np.ndarray, n_units: int, name: str) -> np.ndarray:
    """The one value of each unit."""
    first = np.empty(n_units, names.dtype)
    first[units] = names
    if (first[units] != names).any():
        n_mixed = len(np.unique(units[first[units] != names]))
        raise UsageError(
            f"{name} differ within {n_mixed} of {n_units} units",
            expected=f"one of the {name} for each unit",
            todo="permute rows within units as strata, or use smaller units",
        )
    return first


def _tests(
    value: np.ndarray, statistic: np.ndarray, sums: ClusterSums, hits: HitCounts, is_exact: bool, method: str
) -> CellTests:
    rank = "step-down" if hits.is_step_down else "single-step"
    p, p_adjusted, n_family = hits.p(), hits.p_adjusted(), len(hits.order)
    if n_family > 1:
        method += f"; adjusted: {rank} max-T over {n_family}"
    return CellTests(value, statistic, p, p_adjusted, sums.n, sums.n_clusters, hits.n, n_family, is_exact, method)
