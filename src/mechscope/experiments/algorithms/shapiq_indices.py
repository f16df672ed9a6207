"""Interaction indices that we do not compute ourselves, through the optional package shapiq (`interactions` extra).

STII is the Shapley-Taylor index, which adds up to the game (Sundararajan et al. 2020); FSII and FBII are the best fits
of the game by single players and pairs under Shapley's and Banzhaf's weights (Tsai et al. 2023). Without shapiq
everything else works.
"""

from __future__ import annotations

import importlib
import importlib.util
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.algorithms.interactions import ENUMERATED_PLAYERS_MAX

__all__ = ["ShapiqIndex", "has_shapiq", "require_shapiq", "shapiq_pairs"]

ShapiqIndex = Literal["STII", "FSII", "FBII"]


def has_shapiq() -> bool:
    """Whether the package is installed. Imports nothing."""
    return importlib.util.find_spec("shapiq") is not None


def require_shapiq() -> None:
    """Raise UsageError, with what to install, without shapiq."""
    if not has_shapiq():
        raise UsageError(
            f"{' and '.join(get_args(ShapiqIndex))} are computed by shapiq, which is not installed",
            expected="shapiq 1.4 or later",
            todo="pip install 'mechscope[interactions]', or leave shapiq_indices out: Shapley's and Banzhaf's indices "
            "need no package",
        )


def shapiq_pairs(values: np.ndarray, kind: ShapiqIndex) -> np.ndarray:
    """An index of all pairs in a game given by all its values: float64 [n, n], symmetric, NaN on the diagonal.

    Args:
        values: [2 ** n], entry S for the set whose bit i says that player i is there; 2 to 14 players.
        kind: which index, of order 2.

    Raises:
        UsageError: no shapiq, or another number of values.
    """
    require_shapiq()
    n_players = len(values).bit_length() - 1
    if values.ndim != 1 or len(values) != 1 << n_players or not 2 <= n_players <= ENUMERATED_PLAYERS_MAX:
        raise UsageError(
            f"values of shape {values.shape}",
            expected=f"2 ** n of them, n from 2 to {ENUMERATED_PLAYERS_MAX}",
            todo="give one value for each subset",
        )
    exact: Any = importlib.import_module("shapiq.game_theory.exact")
    bits = 1 << np.arange(n_players)

    def game(coalitions: np.ndarray) -> np.ndarray:
        found: np.ndarray = (values - values[0])[np.atleast_2d(coalitions).astype(np.int64) @ bits]
        return found

    found = exact.ExactComputer(game, n_players=n_players)(kind, order=2)
    pairs = np.full((n_players, n_players), np.nan)
    for pair in combinations(range(n_players), 2):
        pairs[pair] = pairs[pair[::-1]] = float(found[pair])
    return pairs
