"""Ranks, ties by their mean: along an axis, or from one sorting for a whole sample and any part of it.

For the latter values are numbered 0, 1, ... in rising order, equal ones alike. With c_v the count of number v in a
part, its rank there is c_0 + ... + c_v - (c_v - 1) / 2.
"""

from __future__ import annotations

import numpy as np

__all__ = ["mean_ranks", "midranks", "value_numbers"]


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


def midranks(values: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """Ranks from 1 along an axis, ties by their mean; NaN are left out and stay NaN."""
    table = np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1)
    n = table.shape[-1]
    order = np.argsort(table, axis=-1, kind="stable")
    ordered = np.take_along_axis(table, order, axis=-1)
    places = np.broadcast_to(np.arange(n), ordered.shape)
    is_first, is_last = np.ones(ordered.shape, bool), np.ones(ordered.shape, bool)
    is_first[..., 1:] = is_last[..., :-1] = ordered[..., 1:] != ordered[..., :-1]
    first = np.maximum.accumulate(np.where(is_first, places, 0), axis=-1)
    last = np.minimum.accumulate(np.where(is_last, places, n)[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty_like(table)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=-1)
    return np.asarray(np.moveaxis(np.where(np.isnan(table), np.nan, ranks), -1, axis))
