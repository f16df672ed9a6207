from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.experiments.algorithms.cores import CoreSearch, CoreSearchOptions, find_cores
from mechscope.experiments.algorithms.set_functions import SetFunction

MONOTONE = CoreSearchOptions(threshold=1.0, is_monotone=True, baseline="absent", budget=2000, seed=0)
ANY = replace(MONOTONE, is_monotone=False)


def alternatives(*cores: tuple[int, ...]) -> SetFunction:
    """1 where any of the cores is there."""
    return lambda sets: np.any([sets[:, list(core)].all(axis=1) for core in cores], axis=0).astype(float)


def found(search: CoreSearch) -> list[tuple[int, ...]]:
    return [core.members for core in search.cores]


@pytest.mark.parametrize("seed", range(40))
def test_both_planted_alternatives_are_always_found(seed: int) -> None:
    function = alternatives((1, 2), (9, 10, 11))
    for options in (replace(MONOTONE, seed=seed), replace(ANY, seed=seed)):
        search = find_cores(function, 20, options)
        assert found(search) == [(1, 2), (9, 10, 11)]
        assert all(core.is_one_minimal and core.value == 1 for core in search.cores)
        assert search.is_complete == options.is_monotone
        assert search.n_contradictions == 0


@pytest.mark.parametrize("seed", range(10))
def test_hitting_sets_find_all_cores_of_a_random_monotone_function(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = [tuple(sorted(rng.choice(14, rng.integers(1, 5), replace=False).tolist())) for _ in range(8)]
    minimal = sorted({c for c in drawn if not any(set(o) < set(c) for o in drawn)}, key=lambda c: (len(c), c))
    search = find_cores(alternatives(*drawn), 14, replace(MONOTONE, seed=seed, budget=20_000))
    assert search.method == "hitting sets"
    assert search.is_complete
    assert found(search) == minimal


def test_candidates_go_in_batches() -> None:
    search = find_cores(alternatives((1, 2), (9, 10, 11), (30, 31)), 64, MONOTONE)
    assert found(search) == [(1, 2), (30, 31), (9, 10, 11)]
    assert search.n_evaluations < 400
    assert search.n_batches < search.n_evaluations / 2


def test_few_players_are_enumerated_for_any_function() -> None:
    def spoiled(sets: np.ndarray) -> np.ndarray:  # {0, 1} suffices unless 2 is there, {2, 3} always
        return np.where(sets[:, 2], sets[:, 3], sets[:, 0] & sets[:, 1]).astype(float)

    search = find_cores(spoiled, 6, ANY)
    assert (search.method, search.is_complete, search.n_evaluations) == ("exhaustive", True, 64)
    assert found(search) == [(0, 1), (2, 3)]


@pytest.mark.parametrize("seed", range(10))
def test_enumeration_is_the_definition(seed: int) -> None:
    values = np.random.default_rng(seed).random(1 << 7)
    values[0] = 0

    def function(sets: np.ndarray) -> np.ndarray:
        picked: np.ndarray = values[sets @ (1 << np.arange(7))]
        return picked

    sufficient = [set(c) for n in range(8) for c in combinations(range(7), n) if values[sum(1 << p for p in c)] >= 0.7]
    minimal = [tuple(sorted(s)) for s in sufficient if not any(o < s for o in sufficient)]
    assert found(find_cores(function, 7, replace(ANY, threshold=0.7))) == minimal


@pytest.mark.parametrize("seed", range(20))
def test_a_suppressor_that_stops_the_full_set_does_not_hide_the_cores(seed: int) -> None:
    def suppressed(sets: np.ndarray) -> np.ndarray:
        core = sets[:, [1, 2]].all(axis=1) | sets[:, [9, 10, 11]].all(axis=1)
        return (core & ~sets[:, 20]).astype(float)

    search = find_cores(suppressed, 30, replace(ANY, seed=seed))
    assert search.full_value == 0
    assert found(search) == [(1, 2), (9, 10, 11)]
    assert not search.is_complete
    assert "not claimed" in search.statement
    assert search.n_contradictions > 0


@pytest.mark.parametrize("seed", range(20))
def test_a_wrong_claim_of_monotony_is_noticed(seed: int) -> None:
    def dips(sets: np.ndarray) -> np.ndarray:  # more than 8 players suffice, 1 and 2 do, 4 to 8 players never
        size = sets.sum(axis=1)
        return np.where(size < 4, sets[:, [1, 2]].all(axis=1), size > 8).astype(float)

    search = find_cores(dips, 16, replace(MONOTONE, seed=seed))
    assert search.n_contradictions > 0
    assert not search.is_complete
    assert "not monotone" in search.statement
    for core in search.cores:
        members = np.zeros((1, 16), bool)
        members[0, list(core.members)] = True
        assert dips(members)[0] == core.value == 1
        assert core.is_one_minimal
        assert all(value < 1 for value in core.deletion_values)


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_averaged_and_each_core_confirmed_afresh(seed: int) -> None:
    rng, truth = np.random.default_rng(seed), alternatives((1, 2), (9, 10, 11))
    options = CoreSearchOptions(
        threshold=0.5,
        is_monotone=True,
        baseline="resample",
        budget=20_000,
        seed=seed,
        n_repeats=25,
        n_confirmations=100,
    )
    search = find_cores(lambda sets: truth(sets) + rng.normal(0, 0.5, len(sets)), 16, options)
    assert [core.members for core in search.cores if core.is_one_minimal] == [(1, 2), (9, 10, 11)]
    for core in search.cores:
        assert core.standard_error is not None
        assert 0.03 < core.standard_error < 0.07  # 0.5 / sqrt(100) = 0.05
        assert abs(core.value - 1) < 5 * core.standard_error


def test_a_core_made_by_noise_does_not_pass_its_confirmation() -> None:
    rng = np.random.default_rng(0)
    options = CoreSearchOptions(
        threshold=1.0, is_monotone=False, baseline="mean", budget=4000, seed=1, exhaustive_to=0, n_confirmations=50
    )
    search = find_cores(lambda sets: rng.normal(0, 0.6, len(sets)) * sets.any(axis=1), 12, options)
    assert search.cores
    assert not any(core.is_sufficient or core.is_one_minimal for core in search.cores)


def test_a_budget_that_runs_out_is_said() -> None:
    function = alternatives((1, 2), (9, 10, 11), (20, 21, 22, 23))
    search = find_cores(function, 40, replace(MONOTONE, budget=40))
    assert not search.is_complete
    assert "budget of 40" in search.statement
    assert set(found(search)) < {(1, 2), (9, 10, 11), (20, 21, 22, 23)}
    n_verifying = sum(1 + len(core.members) for core in search.cores)
    assert search.n_evaluations <= 40 + n_verifying


def test_nothing_needed_and_nothing_sufficient() -> None:
    always = find_cores(lambda sets: np.ones(len(sets)), 30, MONOTONE)
    assert found(always) == [()]
    assert "baseline alone" in always.statement
    never = find_cores(lambda sets: np.zeros(len(sets)), 30, MONOTONE)
    assert (found(never), never.is_complete) == ([], True)
    nobody = find_cores(lambda sets: np.zeros(len(sets)), 0, MONOTONE)
    assert found(nobody) == []


def test_the_same_seed_gives_the_same_search() -> None:
    function = alternatives((1, 2), (9, 10, 11))
    assert find_cores(function, 30, ANY) == find_cores(function, 30, ANY)


def test_numbers_out_of_range_are_refused() -> None:
    for options in (replace(MONOTONE, budget=1), replace(ANY, n_starts=0), replace(ANY, n_repeats=0)):
        with pytest.raises(UsageError):
            find_cores(alternatives((0,)), 4, options)
