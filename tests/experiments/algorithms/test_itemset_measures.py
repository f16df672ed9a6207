import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact, hypergeom

from mechscope.core import UsageError
from mechscope.experiments.algorithms.bitsets import BitColumns
from mechscope.experiments.algorithms.itemset_measures import (
    P_FLOOR,
    adjust_p,
    contrast_itemsets,
    find_rules,
    hypergeometric_tail,
)
from mechscope.experiments.algorithms.itemsets import mine_itemsets


def random_matrix(seed: int, *, n_rows: int = 1000, n_items: int = 15) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((n_rows, n_items)) < rng.uniform(0.1, 0.4, n_items)


def test_tail_is_scipys_also_where_it_is_tiny() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(1, 3001, (2, 2000))
    k = (hypergeom.rvs(3000, second, first, random_state=1) + rng.integers(-90, 90, 2000)).clip(
        0, np.minimum(first, second)
    )
    expected = hypergeom.sf(k - 1, 3000, second, first)
    seen = hypergeometric_tail(k, n_rows=3000, n_first=first, n_second=second)
    is_normal = expected > 1e-280
    assert expected[is_normal].min() < 1e-100
    np.testing.assert_allclose(seen[is_normal], expected[is_normal], rtol=1e-9)
    assert (seen > 0).all()
    assert (seen[k <= np.maximum(0, first + second - 3000)] == 1).all()


def test_tail_is_the_sum_over_all_tables() -> None:
    for k in range(4):
        table = np.array([[k, 3 - k], [4 - k, 1 + k]])
        expected = fisher_exact(table, alternative="greater").pvalue
        seen = hypergeometric_tail(np.array(k), n_rows=8, n_first=np.array(3), n_second=np.array(4))
        assert float(seen) == pytest.approx(expected, rel=1e-12)


def test_measures_of_a_rule_by_hand() -> None:
    # 10 rows: A in 5, b in 4, both in 3
    matrix = np.zeros((10, 2), bool)
    matrix[:5, 0] = True
    matrix[2:6, 1] = True
    rules = find_rules(mine_itemsets(BitColumns.from_dense(matrix), min_support=0.1, max_length=2))
    at = rules.consequent.tolist().index(1)
    assert rules.support[at] == pytest.approx(0.3)
    assert rules.confidence[at] == pytest.approx(0.6)
    assert rules.lift[at] == pytest.approx(1.5)
    assert rules.leverage[at] == pytest.approx(0.1)
    assert rules.conviction[at] == pytest.approx(0.6 / 0.4)
    assert rules.p[at] == pytest.approx(hypergeom.sf(2, 10, 4, 5))
    assert rules.n_tests == 2


def test_rules_of_three_items_count_their_antecedents() -> None:
    matrix = random_matrix(1)
    sets = mine_itemsets(BitColumns.from_dense(matrix), min_support=0.01, max_length=3)
    rules = find_rules(sets)
    tuples = sets.tuples()
    for at in np.random.default_rng(0).integers(0, len(rules.p), 50):
        members, item = tuples[rules.set_index[at]], int(rules.consequent[at])
        left = matrix[:, [m for m in members if m != item]].all(axis=1)
        right = matrix[:, item]
        assert rules.confidence[at] == pytest.approx(right[left].mean())
        assert rules.lift[at] == pytest.approx(right[left].mean() / right.mean())
        table = np.array(
            [[(left & right).sum(), (left & ~right).sum()], [(~left & right).sum(), (~left & ~right).sum()]]
        )
        assert rules.p[at] == pytest.approx(fisher_exact(table, alternative="greater").pvalue, rel=1e-8)


def test_a_certain_rule_has_infinite_conviction() -> None:
    matrix = np.zeros((10, 2), bool)
    matrix[:3] = True
    matrix[5, 1] = True
    rules = find_rules(mine_itemsets(BitColumns.from_dense(matrix), min_support=0.1, max_length=2))
    assert rules.conviction[rules.consequent.tolist().index(1)] == np.inf


def test_adjusted_p_is_scipys_with_the_rest_at_one() -> None:
    p = np.random.default_rng(2).random(40) ** 4
    padded = np.concatenate([p, np.ones(160)])
    np.testing.assert_allclose(adjust_p(p, n_tests=200), false_discovery_control(padded)[:40])
    assert adjust_p(np.zeros(0), n_tests=0).shape == (0,)
    with pytest.raises(UsageError):
        adjust_p(p, n_tests=39)


def test_independent_items_give_rules_in_a_twentieth_of_the_runs_at_most() -> None:
    # a support in the tail of what chance gives: corrected over the mined rules alone, nearly every run would claim one
    claims = naive = 0
    for seed in range(60):
        matrix = np.random.default_rng(seed).random((1000, 30)) < 0.1
        rules = find_rules(mine_itemsets(BitColumns.from_dense(matrix), min_support=0.017, max_length=2))
        claims += bool((rules.q < 0.05).any())
        naive += bool(len(rules.p)) and bool((false_discovery_control(rules.p) < 0.05).any())
    assert naive > 40
    assert claims <= 6  # more than 6 of 60 has probability .03 at a rate of .05


def test_contrast_against_tables_one_by_one() -> None:
    matrix, rng = random_matrix(3), np.random.default_rng(4)
    is_active = rng.random(1000) < np.where(matrix[:, 0] & matrix[:, 5], 0.9, 0.2)
    columns = BitColumns.from_dense(matrix)
    sets = mine_itemsets(columns, min_support=0.02, max_length=3)
    seen = contrast_itemsets(
        sets, active=BitColumns.from_dense(matrix[is_active]), inactive=BitColumns.from_dense(matrix[~is_active])
    )
    tuples = sets.tuples()
    for at in range(0, len(sets), 37):
        has = np.logical_and.reduce(matrix[:, list(tuples[at])], axis=1)
        share, other = float(np.mean(has[is_active])), float(np.mean(has[~is_active]))
        assert seen.active_share[at] == pytest.approx(share)
        assert seen.growth[at] == (pytest.approx(share / other) if other else np.inf)
        assert seen.contrast[at] == pytest.approx(share - other)
        table = [[(has & is_active).sum(), (has & ~is_active).sum()]]
        table += [[(~has & is_active).sum(), (~has & ~is_active).sum()]]
        assert seen.p[at] == pytest.approx(fisher_exact(np.array(table), alternative="greater").pvalue, rel=1e-8)
    assert tuples[int(np.argmin(seen.p))] == (0, 5)
    assert seen.n_tests == 15 + 105 + 455
    np.testing.assert_allclose(seen.q, adjust_p(seen.p, n_tests=575))


def test_activity_by_chance_gives_contrasts_in_a_twentieth_of_the_runs_at_most() -> None:
    claims = 0
    for seed in range(60):
        matrix = random_matrix(seed, n_rows=400, n_items=12)
        is_active = np.random.default_rng(1000 + seed).random(400) < 0.3
        active, inactive = (BitColumns.from_dense(matrix[rows]) for rows in (is_active, ~is_active))
        mined_among_active = mine_itemsets(active, min_support=0.1, max_length=2)
        claims += bool((contrast_itemsets(mined_among_active, active=active, inactive=inactive).q < 0.05).any())
    assert claims <= 6


def test_a_group_without_rows_is_refused() -> None:
    columns = BitColumns.from_dense(random_matrix(0))
    nothing = BitColumns.from_dense(np.zeros((0, 15), bool))
    with pytest.raises(UsageError, match="0 inactive"):
        contrast_itemsets(mine_itemsets(columns, min_support=0.1, max_length=2), active=columns, inactive=nothing)


def test_a_p_that_floats_cannot_hold_is_given_at_its_floor() -> None:
    """Exact: log10 of 1 / C(6000, 3000) is below -1800."""
    p = hypergeometric_tail(np.array([3000]), n_rows=6000, n_first=np.array([3000]), n_second=np.array([3000]))
    assert p[0] == P_FLOOR == 1e-300
    assert adjust_p(p, n_tests=50)[0] == pytest.approx(5e-299)
    larger = hypergeometric_tail(np.array([400]), n_rows=1000, n_first=np.array([400]), n_second=np.array([400]))
    assert P_FLOOR < larger[0] < 1e-280
