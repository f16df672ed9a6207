"""Correlations with permutation tests.

Under the null the pairing of x and y is arbitrary: y is dealt anew among the samples, and r compared. Spearman is
Pearson of midranks, so that one product of the standardised columns with the dealt ones gives all r at once. When all
n! - 1 other pairings are no more than were asked for, they are enumerated. p = (1 + hits) / (1 + B), never 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np

from mechscope.core import UsageError
from mechscope.stats.max_t import HitCounts
from mechscope.stats.ranking import midranks
from mechscope.stats.results import Test
from mechscope.stats.samples import as_clusters, as_column, check_resamples

__all__ = ["CorrelationKind", "permute_correlation"]

CorrelationKind = Literal["pearson", "spearman"]
BLOCK_NUMBERS = 2_000_000


def permute_correlation(
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int,
    kind: CorrelationKind = "spearman",
    strata: np.ndarray | None = None,
    n_permutations: int = 9999,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
) -> Test:
    """Correlation of `x` and `y`, both [n], and whether a chance pairing correlates as much. O(B n).

    Args:
        seed: of the pairings.
        kind: "spearman" for ranks, "pearson" for values.
        strata: [n], y is dealt within equal names only; the correlation itself is over all samples.
        n_permutations: B.
        alternative: "greater" tests for a positive correlation.

    Raises:
        UsageError: NaN, other lengths, fewer than three samples, or a column without spread.
    """
    first, second = (_standardised(column, name, kind) for column, name in ((x, "x"), (y, "y")))
    n = len(first)
    if len(second) != n:
        raise UsageError(f"{n} values of x against {len(second)} of y", expected="pairs", todo="pair them")
    value = float(first @ second)
    n_all = math.factorial(n) if n < 20 else math.inf
    is_exact = n_all - 1 <= check_resamples(n_permutations, "n_permutations") and strata is None
    n_block = max(1, BLOCK_NUMBERS // n)
    orders = _all_orders(n, n_block) if is_exact else _drawn_orders(strata, n, n_permutations, n_block, seed)
    against = {"two-sided": np.abs, "greater": np.positive, "less": np.negative}[alternative]
    hits = HitCounts(against(np.array([value])), size=1.0)
    for block in orders:
        hits.add(against(second[block] @ first)[:, None])
    within = "" if strata is None else " within strata"
    method = f"{'exact ' if is_exact else ''}permutation of {kind} pairs{within}, {alternative}"
    return Test(value, float(hits.p()[0]), n, n, hits.n, is_exact, method)


def _standardised(column: np.ndarray, name: str, kind: CorrelationKind) -> np.ndarray:
    """Centred, with squares that sum to 1."""
    given = as_column(column, name=name, n_fewest=3)
    values = midranks(given) if kind == "spearman" else given
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    if length <= 1e-13 * float(np.abs(values).max()) * math.sqrt(len(values)):
        raise UsageError(f"{name} is {given[0]} throughout", expected="values that differ", todo="leave it out")
    standardised: np.ndarray = centred / length
    return standardised


def _all_orders(n: int, n_block: int) -> Iterator[np.ndarray]:
    orders = itertools.permutations(range(n))
    next(orders)  # the observed pairing
    while block := list(itertools.islice(orders, n_block)):
        yield np.array(block)


def _drawn_orders(
    strata: np.ndarray | None, n: int, n_permutations: int, n_block: int, seed: int
) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    stratum = np.zeros(n, np.int64) if strata is None else as_clusters(strata, n, n_fewest=1)
    places = np.argsort(stratum, kind="stable")
    for start in range(0, n_permutations, n_block):
        keys = stratum + generator.random((min(n_block, n_permutations - start), n))
        order = np.empty(keys.shape, np.int64)
        order[:, places] = np.argsort(keys, axis=1)
        yield order
