"""Exact tails, and two-sided p, of many hypergeometric counts at once.

Of N rows, K hold an item and n are chosen; k of the chosen hold it. With t(j) the probability of exactly j,
t(j + 1) / t(j) = (K - j) (n - j) / ((j + 1) (N - K - n + j + 1)), so that P(X >= k) is t(k), by log factorials, times a
sum of running products, all of them positive. P(X <= k) is the upper tail of the chosen rows without the item:
P(X <= k; N, K, n) = P(Y >= n - k; N, N - K, n). p = min(1, 2 min(P(X >= k), P(X <= k))), Fisher's doubled.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

__all__ = ["hypergeometric_p", "upper_sums"]

FAR = 4.0
"""Standard deviations that k lies on the other side of the mean for its tail to be more than half in any case."""
VANISHED = 1e-17
STEPS_AT_ONCE, ITEMS_AT_ONCE = 128, 2048


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
    found[at] = upper_sums(k[at], n_rows, held[at], n_chosen)
    return np.minimum(1.0, found)


def upper_sums(k: np.ndarray, n_rows: int | np.ndarray, held: np.ndarray, n_chosen: int | np.ndarray) -> np.ndarray:
    """P(X >= k) as a sum from k on, float64 [items]; k must be possible. Exact, rounding aside, wherever k lies.

    Args:
        k, held: whole numbers [items]. n_rows, n_chosen: one for all, or [items].

    Cost: standard deviations in steps, 128 at once.
    """
    arrays = [np.broadcast_to(np.asarray(part, np.float64), k.shape) for part in (k, n_rows, held, n_chosen)]
    found = np.empty(len(k))
    for start in range(0, len(k), ITEMS_AT_ONCE):
        here = slice(start, start + ITEMS_AT_ONCE)
        j, n, of_held, chosen = (part[here] for part in arrays)
        first = np.exp(_log_choose(of_held, j) + _log_choose(n - of_held, chosen - j) - _log_choose(n, chosen))
        total, term = np.ones(len(j)), np.ones(len(j))
        steps = np.arange(STEPS_AT_ONCE, dtype=np.float64)
        while (term > VANISHED * total).any():
            up = j[:, None] + steps
            left = of_held[:, None] - up
            ratios = left * (chosen[:, None] - up) / ((up + 1) * ((n - chosen + 1)[:, None] - left))
            terms = term[:, None] * np.cumprod(ratios, axis=1)
            total, term = total + terms.sum(axis=1), terms[:, -1]
            j = j + STEPS_AT_ONCE
        found[here] = first * total
    return found


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Logarithm of n over k."""
    found: np.ndarray = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found
