import importlib
import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import UsageError
from mechscope.experiments.algorithms.bitsets import BitColumns
from mechscope.experiments.algorithms.itemsets import (
    ItemSets,
    closed_sets,
    count_candidates,
    maximal_sets,
    mine_itemsets,
)


def planted_matrix(seed: int, *, n_rows: int, n_items: int) -> np.ndarray:
    """Independent items, and items 1, 2 and 3 together in a further tenth of the rows."""
    rng = np.random.default_rng(seed)
    matrix = rng.random((n_rows, n_items)) < rng.uniform(0.05, 0.25, n_items)
    matrix[:, 1:4] |= (rng.random(n_rows) < 0.1)[:, None]
    return matrix


def brute_force(matrix: np.ndarray, *, min_count: int, max_length: int) -> dict[tuple[int, ...], int]:
    """Counts of all frequent sets, one set after the other."""
    found = {}
    for length in range(1, max_length + 1):
        for members in combinations(range(matrix.shape[1]), length):
            count = int(matrix[:, list(members)].all(axis=1).sum())
            if count >= min_count:
                found[members] = count
    return found


def as_dict(sets: ItemSets) -> dict[tuple[int, ...], int]:
    return dict(zip(sets.tuples(), sets.counts.tolist(), strict=True))


@pytest.mark.parametrize("max_length", [1, 2, 3, 12])
@pytest.mark.parametrize("min_support", [0.001, 0.03, 0.2, 1.0])
def test_mining_is_brute_force_on_twelve_items(min_support: float, max_length: int) -> None:
    matrix = planted_matrix(max_length, n_rows=400, n_items=12)
    matrix[:, 5] = True  # in every row
    matrix[:, 6] = False  # in none
    expected = brute_force(matrix, min_count=max(1, math.ceil(min_support * 400)), max_length=max_length)
    mined = mine_itemsets(BitColumns.from_dense(matrix), min_support=min_support, max_length=max_length)
    assert as_dict(mined) == expected
    assert mined.tuples() == sorted(expected, key=lambda s: (len(s), s))
    np.testing.assert_allclose(mined.supports, mined.counts / 400)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 150), st.integers(1, 8), st.floats(0.05, 0.9))
def test_mining_is_brute_force_on_any_small_matrix(seed: int, n_rows: int, n_items: int, density: float) -> None:
    matrix = np.random.default_rng(seed).random((n_rows, n_items)) < density
    expected = brute_force(matrix, min_count=max(1, math.ceil(0.1 * n_rows - 1e-9)), max_length=5)
    assert as_dict(mine_itemsets(BitColumns.from_dense(matrix), min_support=0.1, max_length=5)) == expected


def test_mining_is_mlxtend_on_two_hundred_items() -> None:
    pytest.importorskip("mlxtend")
    frames: Any = importlib.import_module("pandas")
    patterns: Any = importlib.import_module("mlxtend.frequent_patterns")
    matrix = planted_matrix(0, n_rows=5000, n_items=200)
    table = patterns.hmine(frames.DataFrame(matrix), min_support=0.01, max_len=4)
    expected = {
        tuple(sorted(members)): round(support * 5000)
        for members, support in zip(table["itemsets"], table["support"], strict=True)
    }
    mined = as_dict(mine_itemsets(BitColumns.from_dense(matrix), min_support=0.01, max_length=4))
    assert len(mined) > 5000
    assert mined == expected


def test_no_set_holds_two_items_of_one_family() -> None:
    matrix = planted_matrix(3, n_rows=600, n_items=10)
    families = np.array([0, 0, 0, 1, 1, -1, -1, 2, 2, 2])
    matrix[:, 0] |= matrix[:, 1]  # a rung brings the lower one
    expected = {
        members: count
        for members, count in brute_force(matrix, min_count=6, max_length=4).items()
        if all(families[a] < 0 or families[a] != families[b] for a, b in combinations(members, 2))
    }
    columns = BitColumns.from_dense(matrix)
    mined = mine_itemsets(columns, min_support=0.01, max_length=4, families=families)
    assert as_dict(mined) == expected
    assert len(mined) < len(mine_itemsets(columns, min_support=0.01, max_length=4))


def test_candidates_are_counted_exactly() -> None:
    families = np.array([0, 0, 0, 1, 1, -1, -1])
    allowed = [
        [
            s
            for s in combinations(range(7), n)
            if not any(families[a] == families[b] >= 0 for a, b in combinations(s, 2))
        ]
        for n in (1, 2, 3)
    ]
    assert count_candidates(np.arange(7), max_length=3, families=families) == tuple(map(len, allowed))
    assert count_candidates(np.arange(200), max_length=4) == tuple(math.comb(200, n) for n in (1, 2, 3, 4))


def test_closed_and_maximal_against_the_definition() -> None:
    matrix = planted_matrix(4, n_rows=300, n_items=9)
    matrix[:, 4] = matrix[:, 7]  # 4 and 7 only go together
    sets = mine_itemsets(BitColumns.from_dense(matrix), min_support=0.02, max_length=9)
    counts = as_dict(sets)
    closed = [not any(set(s) < set(o) and counts[o] == counts[s] for o in counts) for s in counts]
    maximal = [not any(set(s) < set(o) for o in counts) for s in counts]
    assert closed_sets(sets).tolist() == closed
    assert maximal_sets(sets).tolist() == maximal
    assert 0 < sum(maximal) < sum(closed) < len(counts)


def test_sets_are_found_again_and_others_are_not() -> None:
    sets = mine_itemsets(
        BitColumns.from_dense(planted_matrix(5, n_rows=300, n_items=9)), min_support=0.03, max_length=4
    )
    members = sets.members[sets.lengths == 3][:, :3]
    assert sets.find(members).tolist() == np.flatnonzero(sets.lengths == 3).tolist()
    known = {s for s in sets.tuples() if len(s) == 3}
    absent = [s for s in combinations(range(30), 3) if s not in known]
    assert set(sets.find(np.array(absent)).tolist()) == {-1}
    assert sets.find(np.array([[0, 1, 2, 3, 4]])).tolist() == [-1]


def test_nothing_frequent_gives_no_set() -> None:
    sets = mine_itemsets(BitColumns.from_dense(np.zeros((50, 4), bool)), min_support=0.1, max_length=3)
    assert len(sets) == 0
    assert sets.find(np.array([[0, 1]])).tolist() == [-1]
    assert not closed_sets(sets).size


def test_bad_arguments_are_refused() -> None:
    columns = BitColumns.from_dense(np.ones((10, 12), bool))
    for min_support, max_length in ((0.0, 2), (1.5, 2), (0.5, 0)):
        with pytest.raises(UsageError):
            mine_itemsets(columns, min_support=min_support, max_length=max_length)
    with pytest.raises(UsageError, match="3 families"):
        mine_itemsets(columns, min_support=0.5, max_length=2, families=np.zeros(3, int))
    with pytest.raises(UsageError, match="more than 100 sets"):
        mine_itemsets(columns, min_support=0.5, max_length=6, max_sets=100)
