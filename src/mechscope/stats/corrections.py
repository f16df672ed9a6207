"""Corrections of p values for how many were looked at.

Benjamini-Hochberg: q of the k-th smallest of m is the least of p_(j) m / j over j >= k (Benjamini and Hochberg 1995);
holds the share of false discoveries for independent or positively dependent tests. Benjamini-Yekutieli multiplies by
1 + 1/2 + ... + 1/m and holds it whatever the dependence (2001). Holm: the largest of p_(j) (m - j + 1) over j <= k
holds the chance of any false one (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mechscope.core import UsageError

__all__ = ["benjamini_hochberg", "benjamini_yekutieli", "fewest_permutations", "holm"]


def benjamini_hochberg(p: np.ndarray, *, skip_nan: bool = False) -> np.ndarray:
    """Monotone q values [m] of `p` [m]. O(m log m).

    Args:
        skip_nan: leave NaN (no test was made) as NaN and out of m; otherwise NaN is refused.

    Raises:
        UsageError: no p values, or some outside [0, 1].
    """
    return _adjust(p, skip_nan, lambda ordered: np.minimum.accumulate(_step_up(ordered)[::-1])[::-1])


def benjamini_yekutieli(p: np.ndarray, *, skip_nan: bool = False) -> np.ndarray:
    """As `benjamini_hochberg`, times 1 + 1/2 + ... + 1/m: for tests that depend on each other in any way."""

    def q(ordered: np.ndarray) -> np.ndarray:
        harmonic = (1 / np.arange(1, len(ordered) + 1)).sum()
        return np.minimum.accumulate((_step_up(ordered) * harmonic)[::-1])[::-1]

    return _adjust(p, skip_nan, q)


def holm(p: np.ndarray, *, skip_nan: bool = False) -> np.ndarray:
    """Holm's adjusted p values [m]: below alpha, the chance of any false discovery is at most alpha. O(m log m)."""
    return _adjust(p, skip_nan, lambda ordered: np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)))


def fewest_permutations(n_tests: int, *, alpha: float = 0.05) -> int:
    """Permutations below which no single one of `n_tests` can pass `alpha` after Bonferroni or BH.

    The smallest p of B permutations is 1 / (B + 1); it must reach alpha / n_tests. Max-T needs those of one test.

    Raises:
        UsageError: `n_tests` below 1, or `alpha` outside (0, 1).
    """
    if n_tests < 1 or not 0 < alpha < 1:
        raise UsageError(f"{n_tests} tests at {alpha}", expected="1 or more, alpha in (0, 1)", todo="count again")
    return max(1, math.ceil(n_tests / alpha * (1 - 1e-12)) - 1)


def _step_up(ordered: np.ndarray) -> np.ndarray:
    raised: np.ndarray = ordered * len(ordered) / np.arange(1, len(ordered) + 1)
    return raised


def _adjust(p: np.ndarray, skip_nan: bool, of_ordered: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    values = np.asarray(p, dtype=np.float64)
    is_known = ~np.isnan(values)
    if values.ndim != 1 or not is_known.any() or not (skip_nan or is_known.all()):
        raise UsageError(
            f"p values of shape {values.shape}, {int((~is_known).sum())} of them NaN",
            expected="one axis, at least one p, no NaN",
            todo="pass skip_nan=True where NaN means that no test was made",
        )
    known = values[is_known]
    if known.min() < 0 or known.max() > 1:
        raise UsageError(f"p from {known.min()} to {known.max()}", expected="0 to 1", todo="pass p values")
    order = np.argsort(known, kind="stable")
    adjusted = np.empty_like(known)
    adjusted[order] = np.clip(of_ordered(known[order]), known[order], 1)
    out = np.full(values.shape, np.nan)
    out[is_known] = adjusted
    return out
