"""Sums that are drawn against those of real dealings, way by way; and when which way is taken."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import ks_2samp, rankdata

from mechscope.stats import dealt_sums
from mechscope.stats.block_sums import BlockSums
from mechscope.stats.dealt_sums import DealtSums
from mechscope.stats.shuffling import Shuffles

MASTER = 47
N = 20_000
SHARES = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.998)
N_DRAWS = 1500


def held(n: int = N) -> sparse.csr_array:
    """Items from 20 rows in 20,000 to all but 40, which go together, and a group of four that fills all rows."""
    generator = np.random.default_rng((MASTER, 0))
    score = 0.8 * generator.normal(size=(n, len(SHARES))) + 0.6 * generator.normal(size=(n, 1))
    tokens = score <= np.array([np.quantile(column, share) for column, share in zip(score.T, SHARES, strict=True)])
    group = np.eye(4)[generator.choice(4, n, p=[0.6, 0.3, 0.09, 0.01])]
    return sparse.csr_array(np.concatenate([tokens, group], axis=1).astype(np.float64))


def skewed(share: float, n: int = N) -> np.ndarray:
    """Zeros, and lognormals in a share of the rows: value and rank, [n, 2]."""
    generator = np.random.default_rng((MASTER, 1))
    values = np.where(generator.random(n) < share, generator.lognormal(0, 0.8, n), 0.0)
    return np.stack([values, rankdata(values)], axis=1)


def dealt(columns: np.ndarray, n_blocks: int = 2) -> DealtSums:
    blocks = np.random.default_rng((MASTER, 2)).permutation(len(columns)) % n_blocks
    return DealtSums(BlockSums(held(len(columns)), blocks), Shuffles(columns[:, 0]), columns)


def drawn(sums: DealtSums, n_draws: int, seed: int) -> np.ndarray:
    """In deviations of a sum over as many rows; rounded, since exact sums tie but for rounding."""
    found = np.concatenate(list(sums.blocks(n_draws, seed=seed)), axis=-1)
    n_with, columns = sums.table.counts[..., None, None], sums.columns
    z = (found - n_with * columns.mean(axis=0)[:, None]) / np.sqrt(n_with) / columns.std(axis=0)[:, None]
    return np.asarray(np.round(z, 4))


@pytest.mark.parametrize(("share", "n_blocks", "way"), [(0.02, 2, "active"), (0.2, 2, "normal"), (1.0, 5, "normal")])
def test_drawn_sums_are_distributed_as_those_of_real_dealings(
    share: float, n_blocks: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = skewed(share)
    monkeypatch.setattr(dealt_sums, "MOST_DEALT", N)
    real = dealt(columns, n_blocks)
    monkeypatch.setattr(dealt_sums, "MOST_DEALT", 1000)
    quick = dealt(columns, n_blocks)
    assert (real.way, quick.way) == ("real", way)
    assert real.in_words == ""
    assert "drawn" in quick.in_words
    one, other = drawn(real, N_DRAWS, 1), drawn(quick, N_DRAWS, 2)
    np.testing.assert_allclose(other[:, -1].sum(axis=0), one[:, -1].sum(axis=0), atol=1e-2)  # all values, each once
    items = range(one.shape[1] - 1)
    compared = [
        ks_2samp(one[b, i, q], other[b, i, q], method="asymp").pvalue
        for b in range(n_blocks)
        for i in items
        for q in (0, 1)
    ]
    compared += [
        ks_2samp(one[:, i, q].sum(axis=0), other[:, i, q].sum(axis=0), method="asymp").pvalue
        for i in items
        for q in (0, 1)
    ]
    assert min(compared) > 0.05 / len(compared)
    # items that share rows share their luck, and blocks take from one another: correlations of all sums with all
    flat = [sums[:, :, 0].reshape(-1, N_DRAWS) for sums in (one, other)]
    apart = np.corrcoef(flat[0]) - np.corrcoef(flat[1])
    assert np.abs(apart).max() < 4.5 * np.sqrt(2 / N_DRAWS)


def test_the_far_ends_of_skewed_sums_are_those_of_real_dealings(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, n_draws, found = skewed(0.5)[:, :1], 6000, []
    for most in (N, 1000):
        monkeypatch.setattr(dealt_sums, "MOST_DEALT", most)
        dealing = dealt(columns)
        sums = np.concatenate([block[:, :-1, 0].sum(axis=0) for block in dealing.blocks(n_draws, seed=most)], axis=-1)
        n_with = dealing.table.counts[:, :-1].sum(axis=0)[:, None]
        error = np.sqrt(n_with * (1 - n_with / N)) * columns.std()
        found.append((sums - n_with * columns.mean()) / error)
    real, quick = found
    # the largest over items: 0.03 is what two samples differ by at most in 99 of 100 cases
    assert ks_2samp(np.abs(real).max(axis=0), np.abs(quick).max(axis=0), method="asymp").statistic < 0.04
    for end in (-1, 1):
        beyond = [(end * z > 2.5).mean(axis=1) for z in (real, quick)]
        error = np.sqrt((beyond[0] + beyond[1] + 2 / n_draws) / n_draws)
        assert (np.abs(beyond[0] - beyond[1]) < 4 * error).all()
    # of a normal, 0.6 % would be: the cube is needed
    assert (real[2] < -2.5).mean() < 0.003


def test_draws_do_not_depend_on_the_items_being_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names for one item, and a group that fills all rows: the roots are singular, the sums agree."""
    monkeypatch.setattr(dealt_sums, "MOST_DEALT", 1000)
    holds = held()
    twice = sparse.csr_array(sparse.hstack([holds, holds[:, [6]]]))
    values = skewed(0.5)[:, :1]
    dealing = DealtSums(BlockSums(twice, np.zeros(N, np.int64)), Shuffles(values[:, 0]), values)
    assert dealing.way == "normal"
    (sums,) = dealing.blocks(50, seed=5)
    np.testing.assert_allclose(sums[0, 6], sums[0, -2], rtol=1e-6)
    np.testing.assert_allclose(sums[0, len(SHARES) : len(SHARES) + 4].sum(axis=0), sums[0, -1], rtol=1e-3)


def test_which_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many, n = skewed(0.02, 9000), skewed(0.97, 9000), 9000
    assert dealt(many[:8192]).way == "real"
    assert dealt(few).way == "active"
    assert dealt(many).way == "normal"
    table = BlockSums(held(n), np.arange(n) % 2)
    strata = np.arange(n) % 3
    assert DealtSums(table, Shuffles(many[:, 0], strata=strata), many).way == "real"
    assert DealtSums(table, Shuffles(many[:, 0], units=np.arange(n) // 2), many).way == "real"
    # rare items take too many rows: what is above the lowest is dealt if that is less, else all
    monkeypatch.setattr(dealt_sums, "MOST_RARE", 5)
    monkeypatch.setattr(dealt_sums, "MOST_DEALT", 100)
    assert dealt(few).way == "active"
    assert dealt(many).way == "real"


def test_real_dealings_are_the_shuffles() -> None:
    columns, strata = skewed(0.4, 600), np.arange(600) % 3
    shuffles, table = Shuffles(columns[:, 0], strata=strata), BlockSums(held(600), np.arange(600) % 2)
    (found,) = DealtSums(table, shuffles, columns).blocks(7, seed=9)
    (places,) = shuffles.places(7, seed=9)
    for at in range(7):
        np.testing.assert_allclose(found[..., at], table.sums(columns[places[:, at]]), atol=1e-9)
