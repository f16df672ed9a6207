"""Shuffles keep what they promise to keep, and reach everything else equally often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.stats import Shuffles


def test_values_stay_in_their_strata_and_units_move_as_wholes() -> None:
    generator = np.random.default_rng(5)
    sizes = generator.integers(1, 4, 60)
    units = np.repeat(np.arange(60), sizes)
    strata = np.repeat(generator.integers(0, 3, 60), sizes)
    order = generator.permutation(len(units))
    units, strata = units[order], strata[order]
    values = generator.normal(size=len(units))
    shuffles = Shuffles(values, units=units, strata=strata)
    pieces = {tuple(values[units == unit]) for unit in range(60)}
    (block,) = shuffles.blocks(30, seed=1)
    for column in block.T:
        for stratum in range(3):
            np.testing.assert_array_equal(np.sort(column[strata == stratum]), np.sort(values[strata == stratum]))
        assert {tuple(column[units == unit]) for unit in range(60)} == pieces
    assert (block != values[:, None]).any(axis=1).mean() > 0.9


def test_every_arrangement_is_as_likely() -> None:
    shuffles = Shuffles(np.array([1.0, 2.0, 3.0]))
    counts = Counter(tuple(column) for block in shuffles.blocks(6000, seed=2) for column in block.T)
    assert len(counts) == 6
    # 1000 each, with a standard deviation of 29
    assert max(abs(count - 1000) for count in counts.values()) < 4 * 29
    within = Shuffles(np.arange(5.0), strata=np.array([0, 0, 0, 1, 1]))
    counts = Counter(tuple(column) for block in within.blocks(6000, seed=3) for column in block.T)
    assert len(counts) == 12
    assert max(abs(count - 500) for count in counts.values()) < 4 * 22


def test_draws_do_not_depend_on_the_blocks_and_what_cannot_move_is_counted() -> None:
    values, units = np.arange(7.0), np.array([0, 0, 1, 1, 2, 2, 2])
    shuffles = Shuffles(values, units=units)
    assert (shuffles.n_units, shuffles.n_fixed) == (3, 3)
    whole = np.concatenate(list(shuffles.blocks(11, seed=4)), axis=1)
    parts = np.concatenate(list(shuffles.blocks(11, seed=4, n_block=2)), axis=1)
    np.testing.assert_array_equal(whole, parts)
    np.testing.assert_array_equal(whole[4:], np.repeat(values[4:, None], 11, axis=1))
    with pytest.raises(UsageError, match="no two of one size"):
        Shuffles(values[:5], units=np.array([0, 1, 1, 2, 2]), strata=np.array([0, 1, 1, 2, 2]))
