"""The four statistics against slow ones, item by item and row by row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mechscope.core import UsageError
from mechscope.experiments import ExperimentContext
from mechscope.experiments.observing.item_associations import ItemAssociations, score_items
from mechscope.experiments.observing.row_items import RowItems
from mechscope.stats import auroc


@pytest.fixture(scope="module")
def items(builds: ExperimentContext) -> RowItems:
    return RowItems.of(builds, builds.rows_in_store[::3], min_rows=20, groups=("weapon_class",))


def dense(items: RowItems) -> np.ndarray:
    table: np.ndarray = items.holds.toarray()
    return table


def test_items_are_the_tokens_and_groups_of_the_rows(items: RowItems, builds: ExperimentContext) -> None:
    rows, vocabulary = builds.rows_in_store[::3], list(builds.corpus.vocabulary)
    table = dense(items)
    for at, name in enumerate(items.names):
        if items.is_token[at]:
            expected = builds.rows_with(vocabulary.index(name))[rows]
        else:
            expected = builds.group_values("weapon_class")[rows] == name.removeprefix("weapon_class ")
        np.testing.assert_array_equal(table[:, at] > 0, expected)
    assert (np.minimum(items.n_with, len(rows) - items.n_with) >= 20).all()
    assert not items.is_token.all()
    counts = np.array([builds.rows_with(token)[rows].sum() for token in range(len(vocabulary))])
    assert items.is_token.sum() == ((counts >= 20) & (len(rows) - counts >= 20)).sum()
    with pytest.raises(UsageError, match="three or more"):
        RowItems.of(builds, rows[:30], min_rows=20)


def test_sums_by_block_are_those_of_a_loop(items: RowItems) -> None:
    generator = np.random.default_rng(1)
    n = len(dense(items))
    blocks, values = generator.integers(0, 4, n), generator.normal(size=(n, 3))
    found = (items.by_block(blocks) @ values).reshape(4, len(items), 3)
    expected = np.stack([dense(items)[blocks == block].T @ values[blocks == block] for block in range(4)])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_statistics_are_the_slow_ones(items: RowItems) -> None:
    generator = np.random.default_rng(2)
    table = dense(items)
    n, k = table.shape
    values = np.maximum(table @ generator.normal(0, 0.4, k) + generator.normal(size=n), 0)
    second = np.asarray(generator.random(n) < 0.4)
    places = np.stack([np.arange(n), generator.permutation(n)], axis=1)
    measured = ItemAssociations(items, second, values, alpha=0.05)
    found = measured.measure(places)
    for column, y in enumerate(values[places].T):
        areas = np.array([auroc(y, held > 0).value for held in table.T])
        means = np.array([y[held > 0].mean() - y[held == 0].mean() for held in table.T])
        with_, without = table.sum(axis=0), n - table.sum(axis=0)
        z = means / (y.std() * np.sqrt(1 / with_ + 1 / without))
        np.testing.assert_allclose(found.areas[:, column], areas)
        np.testing.assert_allclose(found.z[:, column], z, atol=1e-9)
        error, around = 0.0, 0.0
        for train, test in ((~second, second), (second, ~second)):
            x, mean = table[train] - table[train].mean(axis=0), y[train].mean()
            penalty = np.square(x).sum(axis=0).mean() * k / len(x)
            slope = np.linalg.solve(x.T @ x + penalty * np.eye(k), x.T @ (y[train] - mean))
            predicted = mean + (table[test] - table[train].mean(axis=0)) @ slope
            error += np.square(y[test] - predicted).sum()
            around += np.square(y[test] - mean).sum()
        passing = (np.abs(z) > norm.isf(0.05 / (2 * k))).sum()
        expected = [np.maximum(areas, 1 - areas).max(), 1 - error / around, np.abs(z).max(), passing]
        np.testing.assert_allclose(found.statistics[:, column], expected, rtol=1e-8)
    assert measured.r_squared_by_row().mean() == pytest.approx(found.statistics[1, 0])
    scores = score_items(items.holds, values)
    np.testing.assert_allclose(scores[0], found.areas[:, 0])
    np.testing.assert_allclose(scores[2], found.z[:, 0], atol=1e-9)
