"""Mean ranks from one sorting, for the whole and any part of a sample: what has been sorted need not be sorted again.

Values are numbered 0, 1, ... in rising order, equal ones alike. With c_v the count of number v in a part, its rank
there is c_0 + ... + c_v - (c_v - 1) / 2.
"""

from __future__ import annotations

import numpy as np

__all__ = ["mean_ranks", "value_numbers"]


def value_numbers(values: np.ndarray) -> np.ndarray:
    """The number of each value among the different ones in rising order, int64 [n]; NaN are not allowed.

    Cost: a sorting of the values that are not the lowest.
    """
    above = np.flatnonzero(values > values.min()) if len(values) else np.zeros(0, np.int64)
    shown = values[above]
    order = np.argsort(shown)
    numbers = np.zeros(len(values), np.int64)
    ordered = shown[order]
    numbers[above[order]] = 1 + np.cumsum(np.concatenate([[0], ordered[1:] != ordered[:-1]])) if len(above) else 0
    return numbers


def mean_ranks(numbers: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties by their mean, float64 [n], of values with these numbers."""
    counts = np.bincount(numbers)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[numbers]
    return ranks
