"""Ranks from numbered values against those of scipy, whole and in part."""

import numpy as np
import pytest
from scipy.stats import rankdata

from mechscope.stats.ranking import mean_ranks, midranks, value_numbers


@pytest.mark.parametrize("n_zero", [0, 1, 40, 59, 60])
def test_ranks_are_those_of_scipy(n_zero: int) -> None:
    generator = np.random.default_rng(n_zero)
    values = generator.permutation(np.concatenate([np.zeros(n_zero), np.round(generator.normal(size=60 - n_zero), 1)]))
    numbers, part = value_numbers(values), generator.random(60) < 0.5
    np.testing.assert_array_equal(mean_ranks(numbers), rankdata(values))
    np.testing.assert_array_equal(mean_ranks(numbers[part]), rankdata(values[part]))
    np.testing.assert_array_equal(np.unique(values)[numbers], values)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("share_missing", [0.0, 0.3])
def test_ranks_along_an_axis_are_those_of_scipy(axis: int, share_missing: float) -> None:
    generator = np.random.default_rng()
    values = generator.integers(0, 6, (17, 23)).astype(float)
    values[generator.random(values.shape) < share_missing] = np.nan
    np.testing.assert_array_equal(midranks(values, axis=axis), rankdata(values, axis=axis, nan_policy="omit"))
    np.testing.assert_array_equal(midranks(values[0]), rankdata(values[0], nan_policy="omit"))
    assert midranks(np.zeros((0, 3)), axis=0).shape == (0, 3)
