"""Interaction of players in a set function of few players, exactly.

A set function v over n players is its 2^n values, entry S for the set whose bit i says that player i is present.
1. Moebius transform: m(T) = sum over S within T of (-1)^(|T| - |S|) v(S), by n passes over the values in place
   ("butterflies"). Then v(S) is the sum of m(T) over T within S: m(T) is what T adds as a whole.
2. The difference of order k at S is the sum of m(T) over T that hold the k players and lie within S and them.
3. Averaged over S each T weighs 1 / (|T| - k + 1) in the Shapley interaction index (Grabisch and Roubens 1999), where
   every size of S counts the same, and 1 / 2^(|T| - k) in the Banzhaf index, where every S does.
4. So the index of all k-tuples at once is a product of the membership matrix [2^n, n] with itself, weighted.
Order 1 gives the Shapley and Banzhaf values.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.algorithms.set_functions import SetFunction

__all__ = ["ENUMERATED_PLAYERS_MAX", "IndexKind", "enumerate_values", "interaction_index", "moebius"]

IndexKind = Literal["shapley", "banzhaf"]
ENUMERATED_PLAYERS_MAX = 14


def enumerate_values(function: SetFunction, n_players: int, *, batch_size: int = 4096) -> np.ndarray:
    """Values of all subsets, float64 [2 ** n_players].

    Raises:
        UsageError: more than 14 players; use `sample_interaction`.
    """
    if not 1 <= n_players <= ENUMERATED_PLAYERS_MAX:
        raise UsageError(
            f"{n_players} players",
            expected=f"1 to {ENUMERATED_PLAYERS_MAX}, for all subsets are evaluated",
            todo="sample the index with a budget instead (sample_interaction)",
        )
    is_member = _membership(n_players) > 0
    batches = [function(is_member[i : i + batch_size]) for i in range(0, len(is_member), batch_size)]
    return np.concatenate(batches).astype(np.float64)


def moebius(values: np.ndarray) -> np.ndarray:
    """Moebius transform of `values` [2 ** n]: a new float64 array, same order. O(n 2^n)."""
    n_players = _count_players(values)
    transform = values.astype(np.float64, copy=True)
    for player in range(n_players):
        cut = transform.reshape(-1, 2, 1 << player)
        cut[:, 1] -= cut[:, 0]
    return transform


def interaction_index(values: np.ndarray, *, order: int = 2, kind: IndexKind = "shapley") -> np.ndarray:
    """Interaction index of every `order` distinct players: float64 [n, ...] with `order` axes, symmetric.

    Args:
        values: [2 ** n], see `enumerate_values`.
        order: 1 (values of single players), 2 or 3; at most n.
        kind: which average over the other players.

    Returns:
        The index; nan where a player stands twice.

    Cost: O(2^n n^order).
    """
    n_players = _count_players(values)
    if order not in {1, 2, 3} or order > n_players:
        raise UsageError(f"order={order}", expected=f"1 to {min(3, n_players)}", todo="ask for pairs with order 2")
    is_member = _membership(n_players)
    beyond = is_member.sum(axis=1) - order
    held = np.maximum(beyond, 0)
    weight = np.where(beyond >= 0, 1 / (held + 1) if kind == "shapley" else 0.5**held, 0.0) * moebius(values)
    if order == 1:
        single: np.ndarray = weight @ is_member
        return single
    if order == 2:
        pairs: np.ndarray = is_member.T @ (weight[:, None] * is_member)
        np.fill_diagonal(pairs, np.nan)
        return pairs
    triples = np.stack([is_member.T @ ((weight * is_member[:, i])[:, None] * is_member) for i in range(n_players)])
    i, j, k = np.ogrid[:n_players, :n_players, :n_players]
    return np.where((i == j) | (i == k) | (j == k), np.nan, triples)


def _membership(n_players: int) -> np.ndarray:
    """float64 [2 ** n, n]: 1 where the player is in the set."""
    return (np.arange(1 << n_players)[:, None] >> np.arange(n_players) & 1).astype(np.float64)


def _count_players(values: np.ndarray) -> int:
    n_players = len(values).bit_length() - 1
    if values.ndim != 1 or len(values) != 1 << n_players or n_players < 1:
        raise UsageError(
            f"values of shape {values.shape}", expected="2 ** n of them, n >= 1", todo="give one value for each subset"
        )
    return n_players
