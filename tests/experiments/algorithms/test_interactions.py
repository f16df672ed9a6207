"""The game of the notes: v = [0] + 3 [0 1] + 1.5 [2 3 4] over 10 players, [T] being 1 where all of T is there.

By Grabisch and Roubens (1999) the Shapley interaction index of S is the sum over T around S of m(T) / (|T| - |S| + 1)
and Banzhaf's of m(T) / 2^(|T| - |S|): SII(0, 1) = 3, SII(2, 3) = 1.5 / 2 = .75 = BII(2, 3), SV(0) = 1 + 3 / 2 = 2.5.
"""

import importlib
import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.experiments.algorithms.differences import corner_sets, take_differences
from mechscope.experiments.algorithms.interactions import IndexKind, enumerate_values, interaction_index, moebius

KINDS: tuple[IndexKind, ...] = ("shapley", "banzhaf")


def known_game(sets: np.ndarray) -> np.ndarray:
    value: np.ndarray = sets[:, 0] + 3.0 * sets[:, :2].all(axis=1) + 1.5 * sets[:, 2:5].all(axis=1)
    return value


def by_definition(values: np.ndarray, players: tuple[int, ...], kind: IndexKind) -> float:
    """Average difference over the sets of other players, one set after the other."""
    n, k = len(values).bit_length() - 1, len(players)
    total = 0.0
    for size in range(n - k + 1):
        for others in combinations([p for p in range(n) if p not in players], size):
            context = np.zeros((1, n), bool)
            context[0, list(others)] = True
            corners = values[corner_sets(context, players)[0] @ (1 << np.arange(n))]
            weight = math.factorial(size) * math.factorial(n - k - size) / math.factorial(n - k + 1)
            total += (weight if kind == "shapley" else 0.5 ** (n - k)) * float(take_differences(corners[None])[0])
    return total


def test_the_known_game() -> None:
    values = enumerate_values(known_game, 10)
    shapley, banzhaf = interaction_index(values), interaction_index(values, kind="banzhaf")
    expected = np.zeros((10, 10))
    expected[0, 1] = expected[1, 0] = 3.0
    for i, j in combinations((2, 3, 4), 2):
        expected[i, j] = expected[j, i] = 0.75
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_allclose(shapley, expected, atol=1e-9, rtol=0)
    np.testing.assert_allclose(banzhaf, expected, atol=1e-9, rtol=0)
    assert interaction_index(values, order=1)[0] == pytest.approx(2.5, abs=1e-9)
    assert interaction_index(values, order=3)[2, 3, 4] == pytest.approx(1.5, abs=1e-9)
    assert interaction_index(values, order=3)[0, 1, 2] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_every_index_is_its_definition(order: int, kind: IndexKind) -> None:
    values = np.random.default_rng(order).normal(size=1 << 6)
    index = interaction_index(values, order=order, kind=kind)
    for players in combinations(range(6), order):
        assert index[players] == pytest.approx(by_definition(values, players, kind), abs=1e-12)
        assert index[players[::-1]] == pytest.approx(index[players], abs=1e-12)
    if order > 1:
        assert np.isnan(index[(2,) * order])


def test_fourteen_players_stay_exact() -> None:
    values = enumerate_values(lambda sets: known_game(sets) + 1e3 * sets[:, 13], 14)
    index = interaction_index(values)
    assert index[0, 1] == pytest.approx(3, abs=1e-9)
    assert index[2, 3] == pytest.approx(0.75, abs=1e-9)
    assert abs(index[7, 13]) < 1e-9
    assert interaction_index(values, order=1).sum() == pytest.approx(values[-1] - values[0], abs=1e-9)


def test_moebius_sums_back_to_the_values() -> None:
    values = np.random.default_rng(0).normal(size=32)
    kept = values.copy()
    transform = moebius(values)
    np.testing.assert_array_equal(values, kept)
    for s in range(32):
        assert sum(transform[t] for t in range(32) if t & s == t) == pytest.approx(values[s])


@pytest.mark.parametrize("seed", range(3))
def test_every_index_is_shapiqs(seed: int) -> None:
    pytest.importorskip("shapiq")
    games: Any = importlib.import_module("shapiq.game")
    computers: Any = importlib.import_module("shapiq.game_theory.exact")
    table = np.random.default_rng(seed).normal(size=1 << 7) if seed else enumerate_values(known_game, 7)
    table = table - table[0]

    class TableGame(games.Game):  # type: ignore[misc]
        def value_function(self, coalitions: np.ndarray) -> np.ndarray:
            found: np.ndarray = table[np.atleast_2d(coalitions).astype(int) @ (1 << np.arange(7))]
            return found

    computer = computers.ExactComputer(TableGame(n_players=7, normalize=False), n_players=7)
    for name, kind in (("SII", "shapley"), ("BII", "banzhaf")):
        theirs, ours = computer(name, order=2), interaction_index(table, kind=kind)  # type: ignore[arg-type]
        for pair in combinations(range(7), 2):
            assert ours[pair] == pytest.approx(float(theirs[pair]), abs=1e-9)


def test_too_many_players_and_odd_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="15 players"):
        enumerate_values(known_game, 15)
    with pytest.raises(UsageError):
        interaction_index(np.zeros(12))
    with pytest.raises(UsageError):
        interaction_index(np.zeros(4), order=3)
