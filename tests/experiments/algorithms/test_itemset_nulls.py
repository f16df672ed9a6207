from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import chisquare, hypergeom, ks_1samp, uniform

from mechscope.core import UsageError
from mechscope.experiments.algorithms.bitsets import BitColumns
from mechscope.experiments.algorithms.itemset_nulls import (
    NullKind,
    Swaps,
    count_under_null,
    excess_of_sets,
    mine_under_null,
    shuffled_columns,
)
from mechscope.experiments.algorithms.itemsets import mine_itemsets

NULLS: tuple[NullKind, ...] = ("columns", "swaps")


def planted_matrix(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = rng.random((2000, 20)) < rng.uniform(0.05, 0.2, 20)
    matrix[:, 1:4] |= (rng.random(2000) < 0.1)[:, None]
    return matrix


@pytest.mark.parametrize("null", NULLS)
def test_margins_are_kept(null: NullKind) -> None:
    matrix = planted_matrix(0)
    matrix[:1500, 7] = True  # more than half: drawn by what is left out
    for drawn in shuffled_columns(BitColumns.from_dense(matrix), null=null, n_draws=3, seed=1):
        dense = drawn.dense()
        np.testing.assert_array_equal(dense.sum(axis=0), matrix.sum(axis=0))
        assert (dense.sum(axis=1) == matrix.sum(axis=1)).all() == (null == "swaps")
        assert (dense & matrix).sum() < 0.6 * matrix.sum()


def test_column_null_has_the_hypergeometric_distribution() -> None:
    matrix = np.zeros((40, 2), bool)
    matrix[:10, 0] = True
    matrix[:30, 1] = True
    draws = shuffled_columns(BitColumns.from_dense(matrix), null="columns", n_draws=4000, seed=2)
    counts = Counter(int(drawn.dense().all(axis=1).sum()) for drawn in draws)
    support = range(4, 11)
    expected = hypergeom.pmf(support, 40, 10, 30)
    expected[0] += hypergeom.cdf(3, 40, 10, 30)
    seen = [sum(n for value, n in counts.items() if value == k or (k == 4 and value < 4)) for k in support]
    assert chisquare(seen, 4000 * expected / expected.sum()).pvalue > 0.001


def test_swaps_reach_every_matrix_with_these_margins_equally_often() -> None:
    start = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]], bool)
    possible = [
        bits
        for bits in product([0, 1], repeat=12)
        if (np.reshape(bits, (4, 3)).sum(0) == start.sum(0)).all()
        and (np.reshape(bits, (4, 3)).sum(1) == start.sum(1)).all()
    ]
    counts = Counter(
        tuple(
            next(shuffled_columns(BitColumns.from_dense(start), null="swaps", n_draws=1, seed=seed, n_sweeps=20))
            .dense()
            .astype(int)
            .ravel()
            .tolist()
        )
        for seed in range(30 * len(possible))
    )
    assert len(possible) > 10
    assert set(counts) == set(possible)
    assert chisquare([counts[bits] for bits in possible]).pvalue > 0.001


class Scripted(np.random.Generator):
    """Gives one order and one set of coins instead of random ones."""

    def __init__(self, order: tuple[int, ...], coins: tuple[int, ...]) -> None:
        super().__init__(np.random.PCG64(0))
        self.script = np.array(order), 1.0 - np.array(coins)

    def permutation(self, *_: object) -> np.ndarray:
        return self.script[0]

    def random(self, *_: object) -> np.ndarray:  # type: ignore[override]
        return self.script[1]


@pytest.mark.parametrize("start", [[[1, 1, 0], [1, 0, 1], [0, 1, 1]], [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]]])
def test_a_sweep_and_its_reverse_are_equally_likely(start: list[list[int]]) -> None:
    # all pairings and all coins, from every matrix that is reached: the table of transitions is symmetric
    n_entries, n_items = int(np.sum(start)), len(start[0])
    scripts = list(product(permutations(range(n_entries)), product([0, 1], repeat=n_entries // 2)))
    key = tuple(np.ravel(start).tolist())
    moves: dict[tuple[int, ...], Counter[tuple[int, ...]]] = {}
    waiting = {key}
    while waiting:
        now = waiting.pop()
        columns, moves[now] = BitColumns.from_dense(np.reshape(now, (-1, n_items)).astype(bool)), Counter()
        origin = Swaps.of(columns)
        for order, coins in scripts:
            chain = origin.copy()
            chain.sweep(Scripted(order, coins), 1)
            moves[now][tuple(chain.is_held.reshape(n_items, -1).T.astype(int).ravel().tolist())] += 1
        waiting |= set(moves[now]) - set(moves)
    assert len(moves) > 5
    assert all(moves[b][a] == n for a, reached in moves.items() for b, n in reached.items())


@pytest.mark.parametrize("null", NULLS)
def test_planted_triple_is_first_with_the_smallest_p(null: NullKind) -> None:
    columns = BitColumns.from_dense(planted_matrix(3))
    sets = mine_itemsets(columns, min_support=0.02, max_length=3)
    mined = mine_under_null(columns, sets, null=null, n_draws=99, seed=4, min_support=0.02)
    first = int(np.argmax(mined.excess))
    assert sets.tuples()[first] == (1, 2, 3)
    assert mined.p[first] == 1 / 100
    unrelated = [i for i, s in enumerate(sets.tuples()) if len(s) > 1 and not set(s) & {1, 2, 3}]
    assert len(unrelated) > 10
    assert min(mined.p[unrelated]) > 0.05
    alone = count_under_null(columns, sets.members[[first]], null=null, n_draws=99, seed=5)
    assert (alone.p[0], alone.p_max[0]) == (0.01, 0.01)
    assert alone.mean[0] < 0.25 * sets.counts[first]


def test_thousand_draws_give_a_thousandth() -> None:
    columns = BitColumns.from_dense(planted_matrix(6))
    seen = count_under_null(columns, np.array([[1, 2, 3], [8, 9, 10]]), n_draws=999, seed=7)
    assert seen.p[0] == 1 / 1000
    assert seen.p[1] > 0.05


@pytest.mark.parametrize("null", NULLS)
def test_p_of_a_null_set_is_uniform(null: NullKind) -> None:
    values = []
    for seed in range(200):
        matrix = np.random.default_rng(seed).random((300, 6)) < 0.4
        seen = count_under_null(
            BitColumns.from_dense(matrix), np.array([[0, 1]]), null=null, n_draws=39, seed=10_000 + seed, n_sweeps=1
        )
        values.append(seen.p[0])
    p = np.array(values)
    assert (p <= 0.05).mean() <= 0.09  # 18 of 200 at a rate of .05 has probability .01
    # ties of counts only push p up
    assert ks_1samp(p, uniform.cdf, alternative="greater").pvalue > 0.01


def test_best_of_many_null_sets_is_corrected() -> None:
    raw = both = mined_too = 0
    for seed in range(100):
        matrix = np.random.default_rng(seed).random((200, 8)) < 0.3
        columns = BitColumns.from_dense(matrix)
        sets = mine_itemsets(columns, min_support=0.005, max_length=2)
        seen = count_under_null(columns, sets.members[sets.starts[1] :], n_draws=39, seed=seed + 500)
        mined = mine_under_null(columns, sets, n_draws=39, seed=seed + 900, min_support=0.005)
        raw += bool((seen.p <= 0.05).any())
        both += bool((seen.p_max <= 0.05).any())
        mined_too += bool((mined.p <= 0.05).any())
    assert raw > 40
    assert both <= 10  # more than 10 of 100 at a rate of .05 has probability .01
    assert mined_too <= 10


def test_excess_by_hand_and_number_found() -> None:
    matrix = np.zeros((100, 2), bool)
    matrix[:50, 0] = True
    matrix[20:60, 1] = True
    columns = BitColumns.from_dense(matrix)
    sets = mine_itemsets(columns, min_support=0.1, max_length=2)
    expected = (30 - 20) / np.sqrt(20 * 0.8)
    assert excess_of_sets(columns, sets).tolist() == pytest.approx([0, 0, expected])
    mined = mine_under_null(columns, sets, n_draws=20, seed=0, min_support=0.1)
    assert mined.n_found == 1
    assert mined.null_found.tolist() == [1] * 20
    assert mined.p[:2].tolist() == [1, 1]


def test_same_seed_same_draws_and_no_draw_is_refused() -> None:
    columns = BitColumns.from_dense(planted_matrix(8))
    for null in NULLS:
        one, two, other = (next(shuffled_columns(columns, null=null, n_draws=1, seed=seed)).words for seed in (1, 1, 2))
        assert (one == two).all()
        assert (one != other).any()
    with pytest.raises(UsageError):
        count_under_null(columns, np.array([[1, 2]]), n_draws=0, seed=0)
