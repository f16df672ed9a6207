"""Interactions in cells against least squares with every dummy written out, in one part and in two."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mechscope.experiments.interactions import cell_rows
from mechscope.experiments.interactions.cell_rows import N_LEVELS, AdjustedRows, CellRows, Outcome
from mechscope.experiments.interactions.cell_solutions import CellSolution, contrast_of, squared_influences

N, STRATA = 3000, 6


def drawn(seed: int, *, n_factors: int = 4, has_between: bool = True) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    strata = generator.integers(0, STRATA, N)
    covariates = generator.integers(0, 4, (N, 5)).astype(np.int8)
    share = 1 / (1 + np.exp(-(covariates[:, :1] - 1.5) - 0.3 * (strata[:, None] - 2)))
    levels = (generator.random((N, n_factors)) < share).astype(np.uint8)
    if has_between:
        levels[generator.random((N, n_factors)) < 0.15] = 2
    y = 1.0 + 0.3 * strata + covariates @ [0.4, -0.2, 0.1, 0.0, 0.3] + generator.normal(0, 1, N)
    there = levels == 1
    y += 0.7 * there[:, 0] * there[:, 1] + 0.5 * there[:, 2]
    return {"y": np.maximum(y, 0.0), "strata": strata, "covariates": covariates, "levels": levels.T}


def rows_of(data: dict[str, np.ndarray], at: np.ndarray, designs: np.ndarray) -> CellRows:
    among = AdjustedRows(at, data["covariates"][at], data["strata"][at], STRATA)
    return CellRows(among, data["levels"][:, at], designs)


def by_hand(data: dict[str, np.ndarray], design: tuple[int, ...], clusters: np.ndarray) -> tuple[float, float]:
    """Value and sandwich variance of the product of all factors; strata, cells in between and products are columns."""
    levels = data["levels"][list(design)]
    columns = [(data["strata"] == stratum).astype(float) for stratum in range(STRATA)]
    columns += [column.astype(float) for column in data["covariates"].T]
    products = [np.all([levels[at] == 1 for at in some], axis=0)
                for k in range(1, len(design) + 1) for some in combinations(range(len(design)), k)]  # fmt: skip
    in_between = (levels == 2).any(axis=0)
    products = [product & ~in_between for product in products]
    codes = np.sum([N_LEVELS**at * levels[at].astype(int) for at in range(len(design))], axis=0)
    columns += [product.astype(float) for product in products]
    columns += [(codes == code).astype(float) for code in np.unique(codes[in_between])]
    table = np.column_stack(columns)
    beta, *_ = np.linalg.lstsq(table, data["y"], rcond=None)
    tested = len(columns) - len(np.unique(codes[in_between])) - 1
    bread = np.linalg.pinv(table.T @ table)
    influence = (data["y"] - table @ beta) * (table @ bread[:, tested])
    summed = np.bincount(clusters, influence)
    return float(beta[tested]), float(summed @ summed)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("has_between", [True, False])
def test_interactions_are_least_squares_with_all_dummies(
    order: int, has_between: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_rows, "MOST_TOGETHER", 3)  # so that designs are summed in several rounds
    data = drawn(int(np.random.default_rng().integers(1 << 30)), has_between=has_between)
    designs = np.array(list(combinations(range(4), order)))
    whole = rows_of(data, np.arange(N), designs)
    solution = CellSolution(whole.moments, order)
    fit, crowds = solution.fit(whole.outcome(data["y"])), np.arange(N) // 3
    value = fit.values
    alone, crowded = (squared_influences([(whole, data["y"])], [[fit]], groups)[0] for groups in (None, crowds))
    assert solution.is_known.all()
    for at, design in enumerate(designs.tolist()):
        expected, variance = by_hand(data, tuple(design), np.arange(N))
        assert value[at] == pytest.approx(expected, rel=1e-7, abs=1e-9)
        assert alone[at] == pytest.approx(variance, rel=1e-4)  # single precision
        assert crowded[at] == pytest.approx(by_hand(data, tuple(design), crowds)[1], rel=1e-4)


def test_two_parts_add_up_to_the_whole() -> None:
    data = drawn(5)
    designs = np.array(list(combinations(range(4), 2)))
    second = np.random.default_rng(6).random(N) < 0.5
    halves = [rows_of(data, np.flatnonzero(keep), designs) for keep in (~second, second)]
    whole = rows_of(data, np.arange(N), designs)
    parts = [(half, data["y"][half.among.rows]) for half in halves]
    outcome = parts[0][0].outcome(parts[0][1]) + parts[1][0].outcome(parts[1][1])
    together, alone = CellSolution(halves[0].moments + halves[1].moments, 2), CellSolution(whole.moments, 2)
    fit, expected = together.fit(outcome), alone.fit(whole.outcome(data["y"]))
    np.testing.assert_allclose(fit.values, expected.values, rtol=1e-9, atol=1e-11)
    fits = [CellSolution(half.moments, 2).fit(half.outcome(y)) for half, y in parts]
    for groups in (None, np.arange(N) // 2):
        found = squared_influences(parts, [[fit, fits[0]], [fit, fits[1]]], groups)
        by_itself = [squared_influences([part], [[one]], groups)[0] for part, one in zip(parts, fits, strict=True)]
        expected_squares = squared_influences([(whole, data["y"])], [[expected]], groups)[0]
        np.testing.assert_allclose(found, [expected_squares, *by_itself], rtol=1e-4)


def test_what_rows_do_not_tell_is_not_known() -> None:
    data = drawn(8)
    data["levels"][1][data["levels"][0] == 1] = 0  # the two are never there together
    data["covariates"][:, 4] = (data["levels"][2] == 1) & (data["levels"][3] == 1)  # a confounder that is the product
    whole = rows_of(data, np.arange(N), np.array([[0, 1], [0, 2], [2, 3]]))
    assert CellSolution(whole.moments, 2).is_known.tolist() == [False, True, False]


def test_sums_by_cell_are_those_of_the_rows() -> None:
    data = drawn(9)
    data["y"][::2] = 0.0
    designs = np.array([[0, 2], [1, 3], [3, 0]])
    found: Outcome = rows_of(data, np.arange(N), designs).outcome(data["y"])
    for design, sums, active, squares in zip(designs, found.by_cell, found.n_active, found.squares, strict=True):
        codes = data["levels"][design[0]].astype(int) + N_LEVELS * data["levels"][design[1]].astype(int)
        np.testing.assert_allclose(sums, np.bincount(codes, data["y"], minlength=9), rtol=1e-12)
        np.testing.assert_array_equal(active, np.bincount(codes, data["y"] > 0, minlength=9))
        np.testing.assert_allclose(squares, np.bincount(codes, data["y"] ** 2, minlength=9), rtol=1e-12)


def test_the_contrast_is_the_difference_of_order_k() -> None:
    np.testing.assert_array_equal(contrast_of(1), [-1, 1, 0])
    np.testing.assert_array_equal(contrast_of(2), [1, -1, 0, -1, 1, 0, 0, 0, 0])
    assert (np.abs(contrast_of(3)).sum(), contrast_of(3)[[0, 1, 13]].tolist()) == (8, [-1, 1, 1])


def test_noise_is_seldom_an_interaction() -> None:
    """p of pure noise is below 0.05 as often as it should be, and intervals cover 0."""
    designs, hits, n = np.array(list(combinations(range(4), 2))), 0, 0
    for seed in range(60):
        data = drawn(seed)
        data["y"] = np.abs(np.random.default_rng(seed + 1000).normal(size=N))
        whole = rows_of(data, np.arange(N), designs)
        fit = CellSolution(whole.moments, 2).fit(whole.outcome(data["y"]))
        error = np.sqrt(squared_influences([(whole, data["y"])], [[fit]], None)[0])
        hits, n = hits + int((np.abs(fit.values / error) > 1.959964).sum()), n + len(error)
    assert 4 <= hits <= 34  # 18 expected of 360; designs share factors
