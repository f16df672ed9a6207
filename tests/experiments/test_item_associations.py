"""The four statistics against slow ones, item by item and row by row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import ks_2samp, kstest, norm

from mechscope.core import UsageError
from mechscope.experiments import ExperimentContext
from mechscope.experiments.observing.held_out import held_out
from mechscope.experiments.observing.item_associations import N_BY_ITEM, STATISTICS, ItemAssociations
from mechscope.experiments.observing.row_items import RowItems
from mechscope.stats import Shuffles, auroc, bundles, dealt_sums
from mechscope.stats.dealt_sums import DealtSums


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


def test_items_are_kept_for_the_same_rows_and_settings_alone(builds: ExperimentContext) -> None:
    rows = builds.rows_in_store
    whole = RowItems.of(builds, rows, min_rows=20)
    assert RowItems.of(builds, rows.copy(), min_rows=20) is whole
    others = [
        RowItems.of(builds, rows, min_rows=30),
        RowItems.of(builds, rows[1:], min_rows=20),
        RowItems.of(builds, rows[:-1], min_rows=20),
        RowItems.of(builds, rows, min_rows=20, groups=("weapon_class",)),
    ]
    assert len({id(found) for found in (whole, *others)}) == 5
    assert others[1].holds.shape[0] == len(rows) - 1
    assert RowItems.of(builds, rows[1:], min_rows=20) is others[1]
    halves = np.arange(len(rows)) % 2
    table = whole.by_block(halves)
    assert whole.by_block(halves.copy()) is table
    np.testing.assert_array_equal(whole.by_block(1 - halves).counts, table.counts[::-1])


def test_the_statistics_are_the_slow_ones(items: RowItems) -> None:
    generator = np.random.default_rng(2)
    table = dense(items)
    n, k = table.shape
    values = np.maximum(table @ generator.normal(0, 0.4, k) + generator.normal(size=n), 0)
    second = np.asarray(generator.random(n) < 0.4)
    places = np.stack([np.arange(n), generator.permutation(n)], axis=1)
    measured = ItemAssociations(items, second, values, alpha=0.05)
    found = measured.measure(measured.table.sums(measured.columns[places].transpose(0, 2, 1)))
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
    np.testing.assert_allclose(measured.measure(measured.sums[..., None]).statistics, found.statistics[:, :1])
    for half, here in enumerate((~second, second)):
        areas, means, _ = measured.of_half(half)
        with_, without = table[here].sum(axis=0), (1 - table[here]).sum(axis=0)
        assert np.isnan(areas).sum() == (np.minimum(with_, without) < 5).sum()
        for at in np.flatnonzero(~np.isnan(areas)):
            held, y = table[here, at] > 0, values[here]
            assert areas[at] == pytest.approx(auroc(y, held).value)
            assert means[at] == pytest.approx(y[held].mean() - y[~held].mean())


def drawn_items() -> RowItems:
    """40 items of 12,000 rows, from 15 rows to 9,000, of which some go together."""
    generator = np.random.default_rng(21)
    shares = np.geomspace(0.00125, 0.75, 40)
    score = 0.8 * generator.normal(size=(12_000, 40)) + 0.6 * generator.normal(size=(12_000, 1))
    held = score <= np.array([np.quantile(column, share) for column, share in zip(score.T, shares, strict=True)])
    names = tuple(f"item {at}" for at in range(40))
    return RowItems(names, np.ones(40, bool), sparse.csr_array(held.astype(np.int8)), held.sum(axis=0), 0)


def null_of(items: RowItems, values: np.ndarray, n_draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The statistics as they are [4] and under dealings [4, draws]."""
    second = np.random.default_rng(22).permutation(len(values)) % 2 == 1
    measured = ItemAssociations(items, second, values, alpha=0.05)
    dealing = DealtSums(measured.table, Shuffles(values), measured.columns, n_by_item=N_BY_ITEM)
    blocks = [measured.measure(sums).statistics for sums in dealing.blocks(n_draws, seed=seed)]
    return measured.measure(measured.sums[..., None]).statistics[:, 0], np.concatenate(blocks, axis=1)


@pytest.mark.parametrize("share", [0.03, 0.3, 0.9])
def test_drawn_statistics_are_distributed_as_those_of_shuffles(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, items, n_draws, found = np.random.default_rng(23), drawn_items(), 2000, []
    values = np.where(generator.random(12_000) < share, generator.lognormal(0, 0.8, 12_000), 0.0)
    for most in (12_000, 1000):
        monkeypatch.setattr(dealt_sums, "MOST_DEALT", most)
        found.append(null_of(items, values, n_draws, seed=most)[1])
    for name, one, other in zip(STATISTICS, *found, strict=True):
        # 0.05 is what two samples of 2,000 differ by at most in 99 of 100 cases
        assert ks_2samp(one, other, method="asymp").statistic < 0.055, name
        error = np.sqrt((one.var() + other.var()) / n_draws)
        assert abs(one.mean() - other.mean()) < 4 * error, name
        ends = [np.quantile(sample, [0.025, 0.975]) for sample in (one, other)]
        np.testing.assert_allclose(ends[1], ends[0], atol=0.15 * np.ptp(ends[0]), err_msg=name)


def test_what_is_held_out_is_the_same_over_bundles_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, items = np.random.default_rng(25), drawn_items()
    on = items.holds[:, [20]].toarray()[:, 0]
    values = np.where(generator.random(12_000) < 0.4, generator.lognormal(0, 0.8, 12_000) + 3 * on, 0.0)
    measured = ItemAssociations(items, generator.permutation(12_000) % 2 == 1, values, alpha=0.05)
    bundled, said = held_out(measured, np.arange(12_000), seed=0)
    monkeypatch.setattr(bundles, "MOST_UNITS", 12_000)
    exact, said_of_rows = held_out(measured, np.arange(12_000), seed=0)
    assert (said, said_of_rows) == ("bootstrap of 2,048 bundles of rows", "bootstrap")
    assert exact[1]["item"] == "item 20"
    assert exact[1]["excludes_chance"] is exact[2]["excludes_chance"] is True
    for one, other in zip(exact, bundled, strict=True):
        width = one["high"] - one["low"]
        assert one["value"] == pytest.approx(other["value"])
        assert [other["low"], other["high"]] == pytest.approx([one["low"], one["high"]], abs=0.12 * width)
        assert one["excludes_chance"] is other["excludes_chance"]


def test_p_is_uniform_for_values_that_go_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dealt_sums, "MOST_DEALT", 1000)
    items, found = drawn_items(), []
    for seed in range(150):
        generator = np.random.default_rng((24, seed))
        values = np.where(generator.random(12_000) < 0.4, generator.lognormal(0, 0.8, 12_000), 0.0)
        seen, null = null_of(items, values, 99, seed)
        found.append((1 + (null >= seen[:, None] - 1e-9).sum(axis=1)) / 100)
    p = np.array(found).T
    for name, each in zip(STATISTICS[:3], p, strict=False):
        assert kstest(each - generator.random(150) / 100, "uniform").pvalue > 0.005, name
    # counts of items tie, and a p of ties is larger than it need be
    assert (p <= 0.05).sum(axis=1).max() <= 17  # 7.5 expected; 99.9 % of such counts are below 17
