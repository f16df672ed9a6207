"""Sparse AUROC against the pairwise definition, scipy and a dense computation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from mechscope.stats.column_areas import block_areas, dense_areas, pick_best
from mechscope.store.sparse import FeatureBlock


def block_of(dense: np.ndarray, first: int = 0) -> FeatureBlock:
    features, samples = np.nonzero(dense.T)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(features, minlength=dense.shape[1]))])
    return FeatureBlock(first, indptr, samples.astype(np.uint32), dense[samples, features])


def codes(seed: int, n: int = 60, n_features: int = 9, *, negatives: bool = False) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = np.round(generator.exponential(size=(n, n_features)), 1) + 0.1
    if negatives:
        values *= generator.choice([-1, 1], values.shape)
    values *= generator.random(values.shape) < generator.uniform(0, 1, n_features)
    values[:, 0] = 0
    return values.astype(np.float32)


@pytest.mark.parametrize("negatives", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_sparse_areas_equal_pairs_and_scipy(seed: int, negatives: bool) -> None:
    dense = codes(seed, negatives=negatives)
    labels = np.random.default_rng(seed + 9).random((len(dense), 4)) < 0.4
    areas = block_areas(block_of(dense), np.arange(len(dense)), labels.astype(float))
    for feature in range(dense.shape[1]):
        for concept in range(labels.shape[1]):
            positive, negative = dense[labels[:, concept], feature], dense[~labels[:, concept], feature]
            wins = [(p > n) + (p == n) / 2 for p in positive for n in negative]
            assert areas[feature, concept] == pytest.approx(np.mean(wins), abs=1e-12)
            u = mannwhitneyu(positive.astype(float), negative.astype(float)).statistic
            assert areas[feature, concept] == pytest.approx(u / len(positive) / len(negative), abs=1e-12)
    np.testing.assert_allclose(areas, dense_areas(dense, labels), atol=1e-12)


def test_samples_that_take_no_part_are_left_out() -> None:
    dense = codes(5)
    chosen = np.array([3, 1, 4, 15, 9, 26, 5, 35, 8, 59, 7, 32])
    labels = np.random.default_rng(0).random((len(chosen), 2)) < 0.5
    place = np.full(len(dense), -1)
    place[chosen] = np.arange(len(chosen))
    areas = block_areas(block_of(dense), place, labels.astype(float))
    np.testing.assert_allclose(areas, dense_areas(dense[chosen], labels), atol=1e-12)


def test_the_best_over_blocks_is_the_best_of_all() -> None:
    dense = codes(6, n_features=20)
    labels = np.random.default_rng(1).random((len(dense), 3)) < 0.5
    place = np.arange(len(dense))
    blocks = [block_of(dense[:, first : first + 6], first) for first in range(0, 20, 6)]
    best = pick_best(blocks, place, labels, n_best=4)
    areas = dense_areas(dense, labels)
    for concept in range(3):
        order = np.argsort(-areas[:, concept], kind="stable")[:4]
        np.testing.assert_array_equal(best.ids[:, concept], order)
        np.testing.assert_allclose(best.areas[:, concept], areas[order, concept])
    against = pick_best(blocks, place, labels, both_signs=True)
    np.testing.assert_allclose(against.areas[0], np.maximum(areas, 1 - areas).max(0))
