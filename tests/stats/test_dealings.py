"""Dealt labels: all of them once, or drawn evenly, and never across strata."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mechscope.stats.dealings import deal_labels

STRATA = np.array([1, 0, 1, 0, 1, 0, 0])
LABELS = np.array([True, False, False, True, False, True, False])


def test_all_other_dealings_are_given_once() -> None:
    blocks, is_exact = deal_labels(LABELS, STRATA, n_permutations=17, n_block=4, seed=0)
    rows = np.concatenate(list(blocks))
    assert is_exact
    assert len({tuple(row) for row in rows.tolist()}) == len(rows) == 3 * 6 - 1
    assert not (rows == LABELS).all(axis=1).any()
    assert (rows[:, STRATA == 0].sum(axis=1) == 2).all()
    assert (rows[:, STRATA == 1].sum(axis=1) == 1).all()


def test_drawn_dealings_are_even_and_stay_in_their_strata() -> None:
    blocks, is_exact = deal_labels(LABELS, STRATA, n_permutations=16, n_block=3, seed=0)
    assert not is_exact
    assert sum(len(block) for block in blocks) == 16
    labels, strata = np.tile(LABELS, 2), np.tile(STRATA, 2)
    blocks, _ = deal_labels(labels[:7], strata[:7] * 0, n_permutations=2, n_block=9, seed=0)
    assert all((block.sum(axis=1) == 3).all() for block in blocks)
    blocks, _ = deal_labels(labels, strata, n_permutations=300, n_block=70, seed=1)
    drawn = np.concatenate(list(blocks))
    assert (drawn[:, strata == 0].sum(axis=1) == 4).all()
    assert (drawn[:, strata == 1].sum(axis=1) == 2).all()
    np.testing.assert_allclose(drawn[:, strata == 0].mean(axis=0), 1 / 2, atol=4 * 0.5 / np.sqrt(300))
    np.testing.assert_allclose(drawn[:, strata == 1].mean(axis=0), 1 / 3, atol=4 * 0.5 / np.sqrt(300))
    assert max(Counter(map(tuple, drawn.tolist())).values()) < 30
