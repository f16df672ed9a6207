"""Differences within strata against regression with dummies, by hand, and on a planted paradox."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import UsageError
from mechscope.stats import dummies, least_squares, stratified_difference


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_pooled_differences_equal_least_squares_with_dummies(seed: int, is_clustered: bool) -> None:
    generator = np.random.default_rng(seed)
    strata = np.concatenate([np.repeat(["a", "b", "c"], 3), generator.choice(["a", "b", "c"], 31)])
    labels = np.concatenate([np.tile([True, False, True], 3), generator.random(31) < 0.3])
    values = generator.normal(size=40) + labels
    clusters = generator.integers(0, 8, 40) if is_clustered else None
    found = stratified_difference(values, labels, strata, clusters=clusters)
    columns, names = dummies(strata)
    fit = least_squares(values, np.column_stack([labels, columns]), names=["label", *names], clusters=clusters)
    expected = fit.interval("label")
    assert (found.pooled.value, found.pooled.low, found.pooled.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert (found.pooled.n, found.pooled.n_clusters) == (40, expected.n_clusters)


def test_pooling_by_hand() -> None:
    values = np.array([5.0, 7, 1, 10, 2, 4, 100])
    labels = np.array([True, True, False, True, False, False, True])
    strata = np.array(["x", "x", "x", "y", "y", "y", "lone"])
    found = stratified_difference(values, labels, strata)
    assert [(s.name, s.n_with, s.n_without, s.difference) for s in found.strata] == [
        ("x", 2, 1, 5.0),
        ("y", 1, 2, 7.0),
    ]
    assert [s.weight for s in found.strata] == pytest.approx([0.5, 0.5])
    assert found.pooled.value == pytest.approx(6)
    assert (found.pooled.n, found.n_strata_left_out, found.n_left_out) == (6, 1, 1)


def test_a_difference_that_strata_explain_vanishes_within_them() -> None:
    generator = np.random.default_rng(0)
    strata = np.repeat(np.arange(5), 80)
    labels = generator.random(400) < 0.1 + 0.2 * strata
    values = strata - 0.3 * labels + generator.normal(size=400) * 0.5
    assert values[labels].mean() > values[~labels].mean() + 0.5
    found = stratified_difference(values, labels, strata).pooled
    assert found.high < 0
    assert found.low < -0.3 < found.high


def test_intervals_cover_the_truth() -> None:
    generator = np.random.default_rng(1)
    strata = np.repeat(np.arange(12), 8)
    covered = 0
    for _ in range(400):
        labels = generator.random(96) < 0.4
        values = strata + 0.5 * labels + generator.exponential(size=96)
        found = stratified_difference(values, labels, strata).pooled
        covered += found.low < 0.5 < found.high
    assert 400 * (0.95 - 0.033) <= covered <= 400 * (0.95 + 0.033)


def test_bad_input_is_refused() -> None:
    values, labels = np.arange(6.0), np.arange(6) < 3
    with pytest.raises(UsageError, match="0 strata with both labels"):
        stratified_difference(values, labels, labels)
    with pytest.raises(UsageError, match="1 strata with both labels, 2 samples"):
        stratified_difference(values, labels, np.array([0, 1, 2, 0, 3, 4]))
    with pytest.raises(UsageError, match="strata of shape"):
        stratified_difference(values, labels, np.zeros(5))
    with pytest.raises(UsageError, match="1 clusters"):
        stratified_difference(values, labels, np.zeros(6), clusters=np.zeros(6))
