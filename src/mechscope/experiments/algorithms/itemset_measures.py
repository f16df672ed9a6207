"""How strongly the items of a frequent set go together, and how sets differ between two groups of rows.

With n rows, an antecedent A in a, a consequent b in c and both in k of them:
support k/n, confidence k/a, lift k n / (a c), leverage k/n - (a/n)(c/n), conviction (1 - c/n) / (1 - k/a).
p is Fisher's exact one-sided value: the chance of k rows or more when A's a rows were drawn without regard to b, the
upper tail of the hypergeometric distribution. It takes the rows as independent.
q is Benjamini-Hochberg's over ALL rules that could have been frequent: those that missed the support count as p = 1.
Over the mined rules alone it would be wrong, since the support that selected them is the very count that is tested.
Contrast (emerging patterns, Dong and Li 1999): growth rate = share of active rows with the set / share of inactive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.algorithms.bitsets import BitColumns
from mechscope.experiments.algorithms.itemsets import ItemSets
from mechscope.stats.hypergeometric import upper_sums

__all__ = ["P_FLOOR", "Contrasts", "Rules", "adjust_p", "contrast_itemsets", "find_rules", "hypergeometric_tail"]

P_FLOOR = 1e-300
"""Least p that is given: below it floats lose their digits, and soon are 0. It stands for "at most this"."""


@dataclass(frozen=True)
class Rules:
    """One entry for each frequent set of two items or more and each of its items as the consequent.

    Attributes:
        set_index: int64 [n], the set in `ItemSets`.
        consequent: int64 [n], the item on the right; the rest of the set is the antecedent.
        support, confidence, lift, leverage, conviction: float64 [n]; conviction is inf where confidence is 1.
        p: float64 [n], one-sided Fisher.
        q: float64 [n], Benjamini-Hochberg over `n_tests`.
        n_tests: rules that could have been frequent.
    """

    set_index: np.ndarray
    consequent: np.ndarray
    support: np.ndarray
    confidence: np.ndarray
    lift: np.ndarray
    leverage: np.ndarray
    conviction: np.ndarray
    p: np.ndarray
    q: np.ndarray
    n_tests: int


@dataclass(frozen=True)
class Contrasts:
    """One entry for each set, in the order given.

    Attributes:
        n_active, n_inactive: int64 [n_sets], rows of each kind that hold the set.
        active_share, inactive_share: float64 [n_sets].
        growth: float64 [n_sets], active over inactive share; inf where no inactive row holds it, nan where none does.
        contrast: float64 [n_sets], active minus inactive share.
        p: float64 [n_sets], one-sided Fisher: the set is commoner among active rows.
        q: float64 [n_sets], Benjamini-Hochberg over `n_tests`.
        n_tests: sets that count as tested.
    """

    n_active: np.ndarray
    n_inactive: np.ndarray
    active_share: np.ndarray
    inactive_share: np.ndarray
    growth: np.ndarray
    contrast: np.ndarray
    p: np.ndarray
    q: np.ndarray
    n_tests: int


def find_rules(sets: ItemSets) -> Rules:
    """All rules `antecedent -> one item` inside the mined sets, with their measures. O(rules log rules)."""
    index, consequent, rest = [], [], []
    for length in range(2, len(sets.starts)):
        level = np.arange(sets.starts[length - 1], sets.starts[length])
        for left_out in range(length):
            index.append(level)
            consequent.append(sets.members[level, left_out])
            rest.append(sets.find(np.delete(sets.members[level, :length], left_out, axis=1)))
    if not index:
        empty, none = np.zeros(0), np.zeros(0, np.int64)
        return Rules(none, none, empty, empty, empty, empty, empty, empty, empty, 0)
    set_index, item = np.concatenate(index), np.concatenate(consequent)
    both, n = sets.counts[set_index], max(1, sets.n_rows)
    left, right = sets.counts[np.concatenate(rest)], sets.counts[sets.find(item[:, None])]
    confidence = both / left
    with np.errstate(divide="ignore", invalid="ignore"):
        conviction = np.where(both == left, np.inf, (1 - right / n) / (1 - confidence))
    p = hypergeometric_tail(both, n_rows=sets.n_rows, n_first=left, n_second=right)
    n_tests = sum(length * n for length, n in enumerate(sets.n_candidates, 1) if length > 1)
    return Rules(
        set_index,
        item,
        support=both / n,
        confidence=confidence,
        lift=both / left * n / right,
        leverage=both / n - left / n * (right / n),
        conviction=conviction,
        p=p,
        q=adjust_p(p, n_tests=n_tests),
        n_tests=n_tests,
    )


def contrast_itemsets(
    sets: ItemSets, *, active: BitColumns, inactive: BitColumns, n_tests: int | None = None
) -> Contrasts:
    """How much commoner each set is among active than among inactive rows.

    Args:
        sets: from any mining of the same items.
        active: rows where the feature is active, and
        inactive: the others; without them sets only describe the corpus.
        n_tests: sets that count as tested. None: all candidates, right whatever rows the sets were mined on. The
            number of sets handed in is right only if they were mined without regard to activity (on all rows, or on
            rows that are in neither group).

    Raises:
        UsageError: a group without rows.
    """
    if not active.n_rows or not inactive.n_rows:
        raise UsageError(
            f"{active.n_rows} active and {inactive.n_rows} inactive rows",
            expected="at least one of each",
            todo="take rows where the feature is zero into the comparison",
        )
    n_active, n_inactive = active.counts_of(sets.members), inactive.counts_of(sets.members)
    share, other = n_active / active.n_rows, n_inactive / inactive.n_rows
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = share / other
    n_rows = active.n_rows + inactive.n_rows
    p = hypergeometric_tail(n_active, n_rows=n_rows, n_first=np.array(active.n_rows), n_second=n_active + n_inactive)
    n_tests = sum(sets.n_candidates) if n_tests is None else n_tests
    q = adjust_p(p, n_tests=n_tests)
    return Contrasts(n_active, n_inactive, share, other, growth, share - other, p, q, n_tests)


def adjust_p(p: np.ndarray, *, n_tests: int) -> np.ndarray:
    """Benjamini-Hochberg values of `p` [n] among `n_tests >= n` tests, the others having p = 1: float64 [n]."""
    if n_tests < len(p):
        raise UsageError(
            f"{n_tests} tests for {len(p)} p values", expected="at least as many", todo="count every test that was made"
        )
    order = np.argsort(p)
    raw = p[order] * n_tests / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(np.append(raw, 1.0)[::-1])[::-1][:-1]
    return q


def hypergeometric_tail(
    k: np.ndarray, *, n_rows: int | np.ndarray, n_first: np.ndarray, n_second: np.ndarray
) -> np.ndarray:
    """P(X >= k), X rows in common of `n_first` and `n_second` out of `n_rows`; broadcast, float64, at least P_FLOOR.

    Terms are summed from k away from the mean (below the mean: one minus the other tail), see `stats.hypergeometric`.
    """
    arrays = np.broadcast_arrays(k, n_first, n_second, n_rows)
    k, first, second, n = (np.asarray(a, np.float64).ravel() for a in arrays)
    is_above = k * np.maximum(1, n) > first * second
    # the other tail is that of the rows of the first without the second: P(X < k) = P(Y > n_first - k)
    count, held = np.where(is_above, k, first - k + 1), np.where(is_above, second, n - second)
    is_possible = (count <= np.minimum(first, held)) & (count >= np.maximum(0, first + held - n))
    upper = np.zeros(len(k))
    at = np.flatnonzero(is_possible)
    upper[at] = upper_sums(count[at], n[at], held[at], first[at])
    p: np.ndarray = np.clip(np.where(is_above, upper, 1 - upper), P_FLOOR, 1.0)
    return np.where(k <= np.maximum(0, first + second - n), 1.0, p).reshape(arrays[0].shape)
