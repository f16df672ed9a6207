from itertools import combinations

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.experiments.algorithms.interactions import IndexKind, enumerate_values, interaction_index
from mechscope.experiments.algorithms.sampled_interactions import sample_interaction

KINDS: tuple[IndexKind, ...] = ("shapley", "banzhaf")
WEIGHTS = np.random.default_rng(0).normal(size=(10, 10))


def rough_game(sets: np.ndarray) -> np.ndarray:
    """Interactions of all orders: differences depend on the size and the members of the context."""
    inner: np.ndarray = np.maximum(sets @ WEIGHTS, 0).sum(axis=1) + np.sin(sets.sum(axis=1) ** 1.5)
    return inner


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("players", [(4,), (0, 3), (1, 2, 7)])
def test_intervals_hold_the_exact_index_nineteen_times_in_twenty(players: tuple[int, ...], kind: IndexKind) -> None:
    truth = interaction_index(enumerate_values(rough_game, 10), order=len(players), kind=kind)[players]
    drawn = [sample_interaction(rough_game, 10, players, kind=kind, budget=800, seed=seed) for seed in range(400)]
    covered = np.mean([d.low <= truth <= d.high for d in drawn])
    assert 0.92 <= covered <= 0.98  # .95 +- 2.8 standard errors of 400
    values = np.array([d.value for d in drawn])
    assert abs(values.mean() - truth) < 3.5 * values.std() / np.sqrt(len(values))
    assert np.mean([d.standard_error for d in drawn]) == pytest.approx(values.std(), rel=0.15)


def test_shapley_and_banzhaf_are_told_apart() -> None:
    def all_of_them(sets: np.ndarray) -> np.ndarray:  # Shapley 1 / 15, Banzhaf 1 / 2^14
        return sets.all(axis=1).astype(float)

    shapley = sample_interaction(all_of_them, 16, (0, 1), budget=40_000, seed=1)
    assert shapley.low <= 1 / 15 <= shapley.high
    assert shapley.standard_error < 0.005
    banzhaf = sample_interaction(all_of_them, 16, (0, 1), kind="banzhaf", budget=40_000, seed=1)
    assert banzhaf.value < 0.01


def test_a_planted_pair_among_a_hundred_players() -> None:
    def planted(sets: np.ndarray) -> np.ndarray:
        value: np.ndarray = sets.sum(axis=1) + 3.0 * sets[:, [5, 70]].all(axis=1)
        return value

    for pair in combinations((5, 70, 99), 2):
        seen = sample_interaction(planted, 100, pair, budget=64, seed=2)
        assert seen.value == pytest.approx(3.0 if pair == (5, 70) else 0.0)
        assert seen.n_evaluations <= 64


def test_the_budget_bounds_every_call() -> None:
    sizes: list[int] = []

    def counted(sets: np.ndarray) -> np.ndarray:
        sizes.append(len(sets))
        return np.zeros(len(sets))

    seen = sample_interaction(counted, 20, (0, 1), budget=1001, seed=0, batch_size=128)
    assert sum(sizes) == seen.n_evaluations == 1000
    assert max(sizes) == 128
    assert seen.n_pairs == 125


def test_the_seed_decides() -> None:
    one, two, other = (sample_interaction(rough_game, 10, (0, 1), budget=80, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one.value != other.value


@pytest.mark.parametrize(("players", "budget"), [((0, 0), 100), ((0, 10), 100), ((), 100), ((0, 1), 15)])
def test_bad_arguments_are_refused(players: tuple[int, ...], budget: int) -> None:
    with pytest.raises(UsageError):
        sample_interaction(rough_game, 10, players, budget=budget, seed=0)
