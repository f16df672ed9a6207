import math

import numpy as np
import pytest

from mechscope.core import BadDataError, UsageError
from mechscope.experiments.algorithms.core_searches import ddmin, quickxplain, run_searches
from mechscope.experiments.algorithms.set_functions import (
    BudgetSpentError,
    Evaluator,
    SetFunction,
    as_matrix,
    as_set,
    members_of,
)


def holds_all(*players: int) -> SetFunction:
    return lambda sets: np.logical_and.reduce(sets[:, list(players)], axis=1).astype(float)


@pytest.mark.parametrize("core", [(0,), (3, 40), (63, 0, 31), tuple(range(10))])
def test_quickxplain_finds_the_only_core_in_few_tests(core: tuple[int, ...]) -> None:
    evaluator = Evaluator(holds_all(*core), 64, budget=None)
    order = np.random.default_rng(len(core)).permutation(64).tolist()
    assert run_searches([quickxplain(order)], evaluator, 1.0) == [as_set(core)]
    assert evaluator.n_evaluations <= 2 * len(core) * math.log2(64 / len(core)) + 2 * len(core)


def test_quickxplain_prefers_early_players() -> None:
    def either(sets: np.ndarray) -> np.ndarray:
        return sets[:, [2, 5]].any(axis=1).astype(float)

    for order, chosen in (([2, 0, 1, 5], 2), ([5, 0, 1, 2], 5)):
        assert run_searches([quickxplain(order)], Evaluator(either, 6, budget=None), 1.0) == [as_set([chosen])]


@pytest.mark.parametrize("seed", range(20))
def test_ddmin_ends_one_minimal_for_any_function(seed: int) -> None:
    # a random function: neither monotone nor anything else
    values = np.random.default_rng(seed).random(1 << 8)
    values[0], values[-1] = 0.0, 1.0

    def function(sets: np.ndarray) -> np.ndarray:
        found: np.ndarray = values[sets @ (1 << np.arange(8))]
        return found

    evaluator = Evaluator(function, 8, budget=None)
    [found] = run_searches([ddmin(range(8))], evaluator, 0.8)
    assert values[found] >= 0.8
    assert all(values[found & ~(1 << player)] < 0.8 for player in members_of(found))


def test_searches_in_lockstep_share_batches_and_give_what_they_give_alone() -> None:
    function = holds_all(4, 9, 20)
    orders = [np.random.default_rng(seed).permutation(24).tolist() for seed in range(6)]
    together = Evaluator(function, 24, budget=None)
    results = run_searches([ddmin(order) for order in orders], together, 1.0)
    alone = [Evaluator(function, 24, budget=None) for _ in orders]
    assert results == [run_searches([ddmin(o)], e, 1.0)[0] for o, e in zip(orders, alone, strict=True)]
    assert together.n_batches <= max(e.n_batches for e in alone)


def test_each_set_is_evaluated_once_within_the_budget() -> None:
    evaluator = Evaluator(holds_all(1), 5, budget=3)
    assert evaluator([0, 2, 2, 31]) == [0, 1, 1, 1]
    assert (evaluator.n_evaluations, evaluator.n_batches) == (3, 1)
    assert evaluator([2, 0]) == [1, 0]
    with pytest.raises(BudgetSpentError):
        evaluator([4])
    assert evaluator.n_evaluations == 3


def test_repeats_are_averaged_and_batches_bounded() -> None:
    sizes: list[int] = []
    rng = np.random.default_rng(0)

    def noisy(sets: np.ndarray) -> np.ndarray:
        sizes.append(len(sets))
        return rng.normal(size=len(sets))

    [value] = Evaluator(noisy, 3, budget=None, n_repeats=1000, batch_size=64)([5])
    assert max(sizes) == 64
    assert sum(sizes) == 1000
    assert abs(value) < 5 / math.sqrt(1000)


def test_sets_and_matrices_are_the_same_thing() -> None:
    matrix = np.random.default_rng(0).random((20, 77)) < 0.5
    sets = [as_set(np.flatnonzero(row).tolist()) for row in matrix]
    np.testing.assert_array_equal(as_matrix(sets, 77), matrix)
    assert [list(members_of(s)) for s in sets] == [np.flatnonzero(row).tolist() for row in matrix]


def test_a_function_that_gives_something_else_is_refused() -> None:
    for bad in (lambda sets: np.zeros(1), lambda sets: np.full(len(sets), np.nan)):
        with pytest.raises(BadDataError, match="one number for each of 2 sets"):
            Evaluator(bad, 4, budget=None)([1, 2])
    with pytest.raises(UsageError):
        Evaluator(holds_all(0), 4, budget=0)
