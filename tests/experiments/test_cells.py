"""Cells of paired differences against scipy and closed forms; small cells are not interpreted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, flag_of, paired_cells
from mechscope.experiments.changing.selecting import confirm, confirm_cells, moving_cells, with_halves


def bases(clusters: np.ndarray, is_held_out: np.ndarray) -> Bases:
    n = len(clusters)
    return Bases([], np.zeros(n), np.zeros(n, np.int64), np.ones(n), clusters, is_held_out)


def test_a_cell_says_what_the_textbook_says() -> None:
    deltas = np.random.default_rng(0).normal(0.2, 1, (80, 1))
    cells = paired_cells(deltas, np.arange(80), seed=0)
    test = ttest_1samp(deltas[:, 0], 0)
    assert cells.std_error[0] == pytest.approx(deltas.std(ddof=1) / np.sqrt(80))
    assert cells.effect[0] == pytest.approx(deltas.mean() / deltas.std(ddof=1))
    assert cells.p[0] == pytest.approx(test.pvalue, abs=0.02)
    interval = test.confidence_interval()
    assert (cells.low[0], cells.high[0]) == pytest.approx((interval.low, interval.high), abs=0.04)
    assert set(cells.row(0)) == set(CELL_COLUMNS)


def test_repeated_contexts_count_once() -> None:
    deltas = np.random.default_rng(1).normal(0.3, 1, (30, 2))
    once = paired_cells(deltas, np.arange(30), seed=0)
    thrice = paired_cells(np.repeat(deltas, 3, axis=0), np.repeat(np.arange(30), 3), seed=0)
    for name in ("mean", "std_error", "p", "p_corrected", "effect", "low", "high"):
        np.testing.assert_allclose(getattr(thrice, name), getattr(once, name), rtol=1e-9)
    np.testing.assert_array_equal(thrice.n, 90)
    np.testing.assert_array_equal(thrice.n_clusters, 30)


def test_small_cells_keep_their_mean_and_have_no_test() -> None:
    deltas = np.full((40, 4), np.nan)
    deltas[:4, 0], deltas[:20, 1], deltas[:, 2] = 1.0, 1.0, 1.0
    cells = paired_cells(deltas, np.arange(40), seed=0)
    assert cells.flags == (flag_of(4), flag_of(20), "", flag_of(0))
    assert [bool(flag) for flag in cells.flags] == [True, True, False, True]
    np.testing.assert_array_equal(cells.mean[:3], 1)
    assert np.isnan([cells.p[0], cells.low[0], cells.effect[0], cells.p[3], cells.mean[3]]).all()
    assert cells.n_tested == 2
    assert (cells.p_corrected[1:3] < 0.01).all()


def test_no_change_at_all_is_no_effect() -> None:
    cells = paired_cells(np.zeros((30, 2)), np.arange(30), seed=0)
    np.testing.assert_array_equal(cells.p_corrected, 1)
    np.testing.assert_array_equal(cells.effect, 0)
    np.testing.assert_array_equal(cells.low, 0)


def test_correction_holds_over_correlated_null_cells() -> None:
    hits = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        deltas = generator.normal(size=(40, 1)) + 0.5 * generator.normal(size=(40, 9))
        hits += bool(paired_cells(deltas, np.arange(40), seed=seed, n_permutations=199).p_corrected.min() < 0.05)
    assert hits <= 20  # 10 expected; 99.9 % of such counts are below 21


def test_selection_looks_at_one_half_and_confirmation_at_the_other() -> None:
    generator = np.random.default_rng(3)
    held_out: np.ndarray = np.arange(200) % 2 == 1
    deltas = generator.normal(0, 0.3, (200, 3)) + np.array([0.0, 0.5, 0.9])
    both = bases(np.arange(200), held_out)
    everything, selecting = with_halves(deltas, both, seed=0)
    np.testing.assert_array_equal(everything.n, 200)
    np.testing.assert_array_equal(selecting.n, 100)
    assert moving_cells(selecting, min_effect=0.1) == [1, 2]
    assert moving_cells(selecting, min_effect=2.0) == []
    found = confirm(deltas[:, 1], both, sign=1.0, min_effect=0.1, seed=0)
    assert found.holds
    assert found.mean == pytest.approx(deltas[held_out, 1].mean())
    assert not confirm(deltas[:, 1], both, sign=-1.0, min_effect=0.1, seed=0).holds
    only_selected = np.where(held_out, 0.0, deltas[:, 1])
    assert not confirm(only_selected, both, sign=1.0, min_effect=0.1, seed=0).holds
    assert not confirm(deltas[:, 1], bases(np.arange(200), np.arange(200) < 4), sign=1.0, min_effect=0.1, seed=0).holds


def test_a_chance_find_of_one_half_does_not_hide_what_the_other_half_confirms() -> None:
    generator = np.random.default_rng(4)
    held_out: np.ndarray = np.arange(120) % 2 == 1
    deltas = generator.normal(0, 0.3, (120, 3)) + np.array([0.0, -0.6, -0.9])
    deltas[~held_out, 0] -= 0.5  # moves in the half that selects, by chance
    both = bases(np.arange(120), held_out)
    moving = moving_cells(with_halves(deltas, both, seed=0)[1], min_effect=0.1)
    assert moving == [0, 1, 2]
    found = confirm_cells(deltas, both, signs=-np.ones(3), min_effect=0.1, seed=0)
    assert [one.holds for one in found] == [False, True, True]
    for column, one in enumerate(found):
        alone = confirm(deltas[:, column], both, sign=-1.0, min_effect=0.1, seed=0)
        assert (one.mean, one.n) == pytest.approx((alone.mean, alone.n))
        assert one.p >= alone.p * 0.9  # corrected over three, two draws of flips
    assert not any(one.holds for one in confirm_cells(deltas, both, signs=np.ones(3), min_effect=0.1, seed=0))


def test_confirmation_is_corrected_over_what_it_may_pick_from() -> None:
    held_out, hits = np.arange(60) % 2 == 1, 0
    for seed in range(150):
        deltas = np.random.default_rng(seed).normal(size=(60, 8))
        found = confirm_cells(deltas, bases(np.arange(60), held_out), signs=np.ones(8), min_effect=0.0, seed=seed)
        hits += any(one.holds for one in found)
    assert hits <= 17  # 7.5 expected; 99.9 % of such counts are below 18


def test_no_p_is_below_what_the_clusters_of_its_own_cell_allow() -> None:
    """Flips are drawn for all rows of a table; a cell of 8 contexts has 2^8 patterns whatever the others have."""
    generator = np.random.default_rng(8)
    for seed in generator.integers(1 << 30, size=20).tolist():
        deltas = generator.normal(1, 0.2, (200, 4))
        deltas[8:, 0] = np.nan  # 8 contexts
        deltas[16:, 1] = np.nan  # 16 rows, each twice
        deltas[6:, 2] = 0.0  # 200 contexts, of which 6 differ
        clusters = np.concatenate([np.arange(8), np.arange(8), np.arange(16, 200)])
        cells = paired_cells(deltas, clusters, seed=seed)
        least = np.array([2.0**-7, 2.0**-7, 2.0**-5, 0.0])
        assert (cells.p >= least).all()
        assert (cells.p_corrected >= least).all()
        everything = bases(clusters, np.ones(200, bool))
        told = confirm_cells(deltas, everything, signs=np.ones(4), min_effect=0.0, seed=seed)
        alone = [confirm(deltas[:, at], everything, sign=1.0, min_effect=0.0, seed=seed) for at in range(4)]
        for found in (told, alone):
            assert (np.array([one.p for one in found]) >= least / 2).all()
            assert [one.flag for one in found] == [flag_of(8), flag_of(8), "", ""]
        assert told[3].p < 0.001
