"""Exact AUROC of every feature for every concept at once, from the sparse columns.

For a feature with m non-zeros among n samples, the n - m zeros are one group of ties. With midranks r over all n,
U = (sum of r over the positives) - P (P + 1) / 2 and AUROC = U / (P N) for P positives and N negatives. Only the ranks
of the non-zeros are ever written down: r = (rank among the non-zeros) + (n - m) for values above 0; each zero has
(number of negative values) + (n - m + 1) / 2. The sums over positives for all concepts are one sparse-dense product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import sparse

from mechscope.stats.ranking import midranks

__all__ = ["BestPicks", "SparseColumns", "block_areas", "dense_areas", "pick_best"]


@runtime_checkable
class SparseColumns(Protocol):
    """Consecutive columns from `first` on: column `first + i` holds entries `indptr[i]:indptr[i + 1]`."""

    @property
    def first(self) -> int:
        """Number of the first column."""

    @property
    def indptr(self) -> np.ndarray:
        """Where each column starts, [n_features + 1]."""

    @property
    def samples(self) -> np.ndarray:
        """Sample of each entry."""

    @property
    def values(self) -> np.ndarray:
        """Value of each entry, float32."""

    @property
    def n_features(self) -> int:
        """Columns in the block."""


@dataclass
class BestPicks:
    """The best columns for each concept so far: ids and areas [n_best, n_concepts], best first; -1 where none."""

    ids: np.ndarray
    areas: np.ndarray

    @classmethod
    def empty(cls, n_best: int, n_concepts: int) -> BestPicks:
        """Nothing seen yet."""
        return cls(np.full((n_best, n_concepts), -1, np.int64), np.full((n_best, n_concepts), -np.inf))

    def update(self, ids: np.ndarray, areas: np.ndarray) -> None:
        """Take in further columns; equal areas keep the one seen first."""
        n_best = len(self.ids)
        all_ids = np.concatenate([self.ids, np.broadcast_to(ids[:, None], areas.shape)])
        all_areas = np.concatenate([self.areas, areas])
        order = np.argsort(-all_areas, axis=0, kind="stable")[:n_best]
        self.ids = np.take_along_axis(all_ids, order, 0)
        self.areas = np.take_along_axis(all_areas, order, 0)


def pick_best(
    blocks: Iterable[SparseColumns], place: np.ndarray, labels: np.ndarray, *, n_best: int = 1, both_signs: bool = False
) -> BestPicks:
    """The columns with the largest AUROC for each concept. Memory: one block and the labels as float64.

    Args:
        blocks: all columns, such as `store.feature_blocks()`.
        place: int64 [n_samples], the row of each sample in `labels`, -1 for samples that do not take part.
        labels: boolean [n, n_concepts].
        n_best: how many to keep for each concept.
        both_signs: rank by max(area, 1 - area): a column may speak against the concept.
    """
    best = BestPicks.empty(n_best, labels.shape[1])
    truth = labels.astype(np.float64)
    for first, areas in _areas_of(blocks, place, truth):
        best.update(first + np.arange(len(areas)), np.maximum(areas, 1 - areas) if both_signs else areas)
    return best


def block_areas(block: SparseColumns, place: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """AUROC of each column of the block for each concept, float64 [block features, n_concepts].

    Args:
        place: as in `pick_best`.
        truth: 0 and 1 as float64 [n, n_concepts], each concept with at least one of both.
    """
    n = len(truth)
    at = place[block.samples]
    keep = at >= 0
    feature = np.repeat(np.arange(block.n_features), np.diff(block.indptr))[keep]
    at, values = at[keep], block.values[keep]
    order, is_new = _sorted(feature, values)
    feature, at, values = feature[order], at[order], values[order]
    counts = np.bincount(feature, minlength=block.n_features)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    n_zero, n_below = n - counts, np.bincount(feature, weights=values < 0, minlength=block.n_features)
    ranks = _midranks(is_new, len(values)) - indptr[feature] + n_zero[feature] * (values > 0)
    shape = (block.n_features, n)
    rank_sum = sparse.csr_array((ranks, at, indptr), shape=shape) @ truth
    n_active = sparse.csr_array((np.ones(len(at)), at, indptr), shape=shape) @ truth
    n_positive = truth.sum(axis=0)
    rank_sum += (n_positive - n_active) * (n_below + (n_zero + 1) / 2)[:, None]
    areas: np.ndarray = (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * (n - n_positive))
    return areas


def dense_areas(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUROC of each column of dense `scores` [n, n_columns] for `labels` [n, n_concepts]: [n_columns, n_concepts]."""
    truth = labels.astype(np.float64)
    n_positive = truth.sum(axis=0)
    rank_sum = midranks(scores, axis=0).T @ truth
    areas: np.ndarray = (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * (len(truth) - n_positive))
    return areas


def _areas_of(
    blocks: Iterable[SparseColumns], place: np.ndarray, truth: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    for block in blocks:
        yield block.first, block_areas(block, place, truth)


def _sorted(feature: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order by feature, then value; and whether each entry in that order differs from the one before it."""
    bits = values.view(np.uint32)
    # the usual map from float bits to integers in the same order: flip all bits of negatives, the sign of the others
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    keys = (feature.astype(np.uint64) << np.uint64(32)) | rising
    order = np.argsort(keys)
    keys = keys[order]
    return order, np.concatenate([np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1]])


def _midranks(is_new: np.ndarray, n: int) -> np.ndarray:
    """1-based midranks of sorted entries, counted through; ties share the mean of their ranks."""
    starts = np.flatnonzero(is_new)
    ends = np.append(starts[1:], n)
    return np.repeat((starts + ends + 1) / 2, ends - starts)
