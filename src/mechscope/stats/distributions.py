"""Quantiles and tails as `scipy.stats` gives them, from `scipy.special` alone.

Importing `scipy.stats` takes a second, which every command and every worker process would pay.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, bdtrik, ndtr, ndtri, stdtr, stdtrit

__all__ = ["binomial_quantile", "normal_quantile", "normal_tail", "student_quantile", "student_tail"]


def normal_quantile(share: ArrayLike) -> np.ndarray:
    """The value below which `share` of the standard normal lies."""
    return np.asarray(ndtri(share))


def normal_tail(value: ArrayLike) -> np.ndarray:
    """The share of the standard normal above a value; exact far out."""
    return np.asarray(ndtr(np.negative(value)))


def student_quantile(share: ArrayLike, freedom: ArrayLike) -> np.ndarray:
    """The value below which `share` of Student's t lies; NaN for no degree of freedom."""
    return np.asarray(stdtrit(freedom, share))


def student_tail(value: ArrayLike, freedom: ArrayLike) -> np.ndarray:
    """The share of Student's t above a value."""
    return np.asarray(stdtr(freedom, np.negative(value)))


def binomial_quantile(share: float, n: int, rate: float) -> int:
    """The smallest count of n at `rate` that at least `share` of the draws do not exceed."""
    at = max(0, int(np.ceil(bdtrik(share, n, rate))))
    # the continuous inverse may lie one above
    return at - 1 if at and float(bdtr(at - 1, n, rate)) >= share else at
