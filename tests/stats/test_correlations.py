"""Permuted correlations against scipy and by their calibration."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from mechscope.core import UsageError
from mechscope.stats import correlations, permute_correlation
from mechscope.stats.correlations import CorrelationKind


@pytest.mark.parametrize(("kind", "of_scipy"), [("pearson", scipy.stats.pearsonr), ("spearman", scipy.stats.spearmanr)])
def test_exact_correlations_equal_scipy(kind: CorrelationKind, of_scipy: object) -> None:
    assert callable(of_scipy)
    generator = np.random.default_rng(0)
    x = np.round(generator.normal(size=7), 1)
    y = np.round(x + generator.normal(size=7), 1)
    found = permute_correlation(x, y, seed=0, kind=kind, alternative="greater")
    assert found.value == pytest.approx(of_scipy(x, y).statistic)
    expected = scipy.stats.permutation_test(
        (x,),
        lambda column: of_scipy(column, y).statistic,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=np.inf,
    )
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.is_exact, found.n_permutations, found.n) == (True, 5039, 7)


def test_drawn_p_follows_the_t_of_normal_values() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(size=50)
    y = 0.25 * x + generator.normal(size=50)
    found = permute_correlation(x, y, seed=0, kind="pearson")
    assert found.p == pytest.approx(scipy.stats.pearsonr(x, y).pvalue, abs=0.015)
    assert permute_correlation(x, -y, seed=0, kind="pearson").value == pytest.approx(-found.value)
    assert permute_correlation(x, np.exp(x), seed=0, n_permutations=99).p == 0.01


def test_null_correlations_are_called_as_often_as_promised() -> None:
    generator = np.random.default_rng(2)
    p = np.array(
        [
            permute_correlation(*generator.exponential(size=(2, 25)), seed=seed, n_permutations=199).p
            for seed in range(400)
        ]
    )
    assert (p <= 0.05).mean() <= 0.07
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


def test_what_strata_explain_is_no_finding_within_them() -> None:
    generator = np.random.default_rng(3)
    strata = np.repeat(np.arange(10), 12)
    x, y = strata + generator.normal(size=120), strata + generator.normal(size=120)
    assert permute_correlation(x, y, seed=0, n_permutations=199).p == 0.005
    assert permute_correlation(x, y, seed=0, strata=strata, n_permutations=199).p > 0.1
    together = permute_correlation(x, y + 3 * (x - strata), seed=0, strata=strata, n_permutations=199)
    assert together.p == 0.005
    assert "within strata" in together.method


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 30))
    whole = permute_correlation(x, y, seed=0, n_permutations=500)
    monkeypatch.setattr(correlations, "BLOCK_NUMBERS", 1000)
    assert permute_correlation(x, y, seed=0, n_permutations=500) == whole


def test_bad_input_is_refused() -> None:
    x = np.arange(4.0)
    with pytest.raises(UsageError, match="4 values of x against 3"):
        permute_correlation(x, x[:3], seed=0)
    with pytest.raises(UsageError, match=r"y is 0\.1 throughout"):
        permute_correlation(x, np.full(4, 0.1), seed=0)
    with pytest.raises(UsageError, match="2 x"):
        permute_correlation(x[:2], x[:2], seed=0)
    with pytest.raises(UsageError, match="NaN"):
        permute_correlation(x, np.array([1, np.nan, 2, 3]), seed=0)
    with pytest.raises(UsageError, match="n_permutations 0"):
        permute_correlation(x, x, seed=0, strata=x, n_permutations=0)


def test_drawn_orders_stay_in_their_strata() -> None:
    strata = np.array([2, 0, 1, 0, 2, 2, 1, 0])
    for block in correlations._drawn_orders(strata, 8, 50, 16, 0):
        assert (strata[block] == strata).all()
        assert (np.sort(block, axis=1) == np.arange(8)).all()
    assert len(np.unique(np.concatenate(list(correlations._drawn_orders(strata, 8, 50, 16, 0))), axis=0)) > 20
