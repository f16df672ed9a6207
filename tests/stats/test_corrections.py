"""Corrections against scipy, step by step, and by the share of false discoveries they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, norm

from mechscope.core import UsageError
from mechscope.stats import benjamini_hochberg, benjamini_yekutieli, fewest_permutations, holm

p_values = st.lists(
    st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.04, 0.5, 1.0]) | st.floats(0, 1), min_size=1, max_size=30
)


@given(p_values)
def test_q_values_equal_scipy_and_keep_the_order(values: list[float]) -> None:
    p = np.array(values)
    bh, by = benjamini_hochberg(p), benjamini_yekutieli(p)
    np.testing.assert_allclose(bh, false_discovery_control(p, method="bh"), atol=1e-12)
    np.testing.assert_allclose(by, false_discovery_control(p, method="by"), atol=1e-12)
    for adjusted in (bh, by, holm(p)):
        assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
        assert (adjusted >= p).all()
        assert (adjusted <= 1).all()
    assert (bh <= by + 1e-12).all()
    assert (bh <= holm(p) + 1e-12).all()


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03, 0.005])), [0.06, 0.03, 0.06, 0.02])


def test_false_discoveries_stay_below_the_level() -> None:
    generator = np.random.default_rng(0)
    false_shares, n_found = [], 0
    for _ in range(300):
        z = generator.normal(size=50)
        z[:10] += 3.5
        found = benjamini_hochberg(2 * norm.sf(np.abs(z))) <= 0.05
        false_shares.append(found[10:].sum() / max(1, found.sum()))
        n_found += int(found[:10].sum())
    assert np.mean(false_shares) <= 0.05 + 0.02
    assert n_found > 0.7 * 10 * 300


def test_tests_that_were_not_made_are_left_out_when_asked() -> None:
    p = np.array([0.01, np.nan, 0.04])
    np.testing.assert_allclose(benjamini_hochberg(p, skip_nan=True), [0.02, np.nan, 0.04])
    with pytest.raises(UsageError, match="1 of them NaN"):
        benjamini_hochberg(p)


@pytest.mark.parametrize(
    "p", [np.array([0.5, 1.2]), np.array([-0.1]), np.zeros(0), np.full(2, np.nan), np.ones((2, 2))]
)
def test_bad_p_values_are_refused(p: np.ndarray) -> None:
    for adjust in (benjamini_hochberg, benjamini_yekutieli, holm):
        with pytest.raises(UsageError):
            adjust(p, skip_nan=True)


def test_the_fewest_permutations_that_can_be_significant() -> None:
    assert fewest_permutations(13) == 259
    assert fewest_permutations(1) == 19
    for m in range(1, 200):
        n = fewest_permutations(m)
        assert 1 / (n + 1) <= 0.05 / m * (1 + 1e-9)
        assert 1 / n > 0.05 / m
        assert benjamini_hochberg(np.append(np.ones(m - 1), 1 / (n + 1))).min() <= 0.05 * (1 + 1e-9)
    with pytest.raises(UsageError, match="0 tests"):
        fewest_permutations(0)
