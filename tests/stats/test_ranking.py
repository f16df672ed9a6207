"""Ranks from numbered values against those of scipy, whole and in part."""

import numpy as np
import pytest
from scipy.stats import rankdata

from mechscope.stats.ranking import mean_ranks, value_numbers


@pytest.mark.parametrize("n_zero", [0, 1, 40, 59, 60])
def test_ranks_are_those_of_scipy(n_zero: int) -> None:
    generator = np.random.default_rng(n_zero)
    values = generator.permutation(np.concatenate([np.zeros(n_zero), np.round(generator.normal(size=60 - n_zero), 1)]))
    numbers, part = value_numbers(values), generator.random(60) < 0.5
    np.testing.assert_array_equal(mean_ranks(numbers), rankdata(values))
    np.testing.assert_array_equal(mean_ranks(numbers[part]), rankdata(values[part]))
    np.testing.assert_array_equal(np.unique(values)[numbers], values)
