"""Exact two-sided p of many hypergeometric counts at once.

Of N rows, K hold an item and n are chosen; k of the chosen hold it. With t(j) the probability of exactly j,
t(j + 1) / t(j) = (K - j) (n - j) / ((j + 1) (N - K - n + j + 1)), so that P(X >= k) is t(k), by log factorials, times a
sum of running products, all of them positive. P(X <= k) is the upper tail of the chosen rows without the item:
P(X <= k; N, K, n) = P(Y >= n - k; N, N - K, n). p = min(1, 2 min(P(X >= k), P(X <= k))), Fisher's doubled.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

__all__ = ["hypergeometric_p"]

FAR = 4.0
"""Standard deviations that k lies on the other side of the mean for its tail to be more than half in any case."""
VANISHED = 1e-17
STEPS_AT_ONCE = 128


def hypergeometric_p(k: np.ndarray, n_rows: int, held: np.ndarray, n_chosen: int) -> np.ndarray:
    """Two-sided p of each count, float64 [items]; 0 where it is below the smallest number there is.

    Args:
        k: chosen rows with the item, int64 [items]. held: rows with it, int64 [items].
        n_rows, n_chosen: rows in all, and chosen ones.

    Cost: some ten standard deviations of k in steps over all items together.

    >>> hypergeometric_p(np.array([3]), 10, np.array([4]), 5).round(4)
    array([0.5238])
    """
    upper = _upper_tail(k, n_rows, held, n_chosen)
    lower = _upper_tail(n_chosen - k, n_rows, n_rows - held, n_chosen)
    return np.asarray(np.minimum(1.0, 2.0 * np.minimum(upper, lower)))


def _upper_tail(k: np.ndarray, n_rows: int, held: np.ndarray, n_chosen: int) -> np.ndarray:
    """P(X >= k), float64 [items]; 1 where k is so far below the mean that it is more than half."""
    share = held / max(1, n_rows)
    spread = np.sqrt(n_chosen * share * (1 - share) * (n_rows - n_chosen) / max(1, n_rows - 1))
    found = np.ones(len(k))
    at = np.flatnonzero(k >= n_chosen * share - FAR * spread - 1)
    j, of_held = k[at].astype(np.float64), held[at].astype(np.float64)
    first = np.exp(_log_term(j, n_rows, of_held, n_chosen))
    total, term = np.ones(len(at)), np.ones(len(at))
    steps = np.arange(STEPS_AT_ONCE, dtype=np.float64)
    while len(at) and (term > VANISHED * total).any():
        up = j[:, None] + steps
        left = of_held[:, None] - up
        ratios = left * (n_chosen - up) / ((up + 1) * (n_rows - n_chosen + 1 - left))
        terms = term[:, None] * np.cumprod(ratios, axis=1)
        total, term = total + terms.sum(axis=1), terms[:, -1]
        j += STEPS_AT_ONCE
    found[at] = first * total
    return np.minimum(1.0, found)


def _log_term(k: np.ndarray, n_rows: int, held: np.ndarray, n_chosen: int) -> np.ndarray:
    found: np.ndarray = (
        _log_choose(held, k)
        + _log_choose(n_rows - held, n_chosen - k)
        - _log_choose(np.full(1, float(n_rows)), np.full(1, float(n_chosen)))
    )
    return found


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    found: np.ndarray = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found
