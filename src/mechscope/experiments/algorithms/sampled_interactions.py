"""The Shapley and Banzhaf interaction index of given players by sampling, with standard errors.

The index of order k is the mean of the difference of order k at a random set S of the other players:
1. Banzhaf: each other player is in S by a fair coin. Shapley: first the size of S, uniform over 0 ... n - k, then a
   uniform set of that size (the weights of Grabisch and Roubens 1999 summed over the sets of one size are all equal).
2. Each S is drawn with its complement among the others (antithetic): for smooth functions one errs up where the other
   errs down. The mean over such pairs is unbiased, and pairs are independent.
3. Each S costs 2^k evaluations: the players of interest present in all combinations.
4. value = mean of the pair means, standard error = their standard deviation / sqrt(number of pairs), interval by
   Student's t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.algorithms.differences import corner_sets, corner_signs
from mechscope.experiments.algorithms.interactions import IndexKind
from mechscope.experiments.algorithms.set_functions import SetFunction
from mechscope.stats.distributions import student_quantile

__all__ = ["SampledIndex", "sample_interaction"]


@dataclass(frozen=True)
class SampledIndex:
    """An estimate.

    Attributes:
        players: whose interaction.
        kind: which index.
        value, standard_error: of the index.
        low, high: 95 % interval.
        n_pairs: independent antithetic pairs of contexts.
        n_evaluations: sets handed to the function.
    """

    players: tuple[int, ...]
    kind: IndexKind
    value: float
    standard_error: float
    low: float
    high: float
    n_pairs: int
    n_evaluations: int


def sample_interaction(
    function: SetFunction,
    n_players: int,
    players: Sequence[int],
    *,
    kind: IndexKind = "shapley",
    budget: int,
    seed: int,
    batch_size: int = 4096,
) -> SampledIndex:
    """Interaction index of `players` (one to three of them) in a function of any number of players.

    Args:
        function: boolean [n_sets, n_players] -> float [n_sets].
        n_players: of the function.
        players: distinct; order 1 gives the value of a single player.
        kind: which index.
        budget: evaluations at most; 2 pairs of contexts, so 4 x 2^k, at least.
        seed: of the contexts.
        batch_size: sets in one call at most.

    Raises:
        UsageError: players out of range or twice, or a budget too small for a standard error.
    """
    order = len(players)
    if not 1 <= order <= 3 or len(set(players)) < order or not all(0 <= p < n_players for p in players):
        raise UsageError(
            f"players {list(players)} of {n_players}", expected="one to three distinct players", todo="name each once"
        )
    n_pairs = budget // (2 << order)
    if n_pairs < 2:
        raise UsageError(
            f"a budget of {budget} evaluations",
            expected=f"{4 << order} or more for order {order}",
            todo="raise the budget: two pairs of contexts give the first standard error",
        )
    contexts = _draw_contexts(n_players, players, kind, n_pairs, np.random.default_rng(seed))
    sets = corner_sets(contexts, players).reshape(-1, n_players)
    values = np.concatenate([function(sets[i : i + batch_size]) for i in range(0, len(sets), batch_size)])
    differences = values.astype(np.float64).reshape(2 * n_pairs, -1) @ corner_signs(order)
    means = differences.reshape(2, n_pairs).mean(axis=0)
    value, error = float(means.mean()), float(means.std(ddof=1) / np.sqrt(n_pairs))
    reach = float(student_quantile(0.975, n_pairs - 1)) * error
    return SampledIndex(tuple(players), kind, value, error, value - reach, value + reach, n_pairs, len(sets))


def _draw_contexts(
    n_players: int, players: Sequence[int], kind: IndexKind, n_pairs: int, rng: np.random.Generator
) -> np.ndarray:
    """Boolean [2 n_pairs, n_players] without `players`: sets, then their complements among the others."""
    others = np.setdiff1d(np.arange(n_players), players)
    if kind == "banzhaf":
        is_in = rng.random((n_pairs, len(others))) < 0.5
    else:
        sizes = rng.integers(0, len(others) + 1, n_pairs)
        ranks = rng.permuted(np.tile(np.arange(len(others)), (n_pairs, 1)), axis=1)
        is_in = ranks < sizes[:, None]
    contexts = np.zeros((2 * n_pairs, n_players), bool)
    contexts[:, others] = np.concatenate([is_in, ~is_in])
    return contexts
