"""Adjusted group means against least squares with every dummy written out."""

from __future__ import annotations

import numpy as np
import pytest

from mechscope.experiments.groups.adjusted import adjusted_groups
from mechscope.experiments.observing import moments
from mechscope.stats import adjusted_group_effects


@pytest.mark.parametrize("block", [4096, 37])
def test_groups_equal_least_squares_with_all_columns(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "BLOCK_ROWS", block)
    generator = np.random.default_rng(int(np.random.default_rng(8).integers(1 << 30)))
    place = generator.choice(5, 400, p=[0.4, 0.3, 0.2, 0.07, 0.03])
    covariates = generator.integers(0, 5, (400, 3)) + (place == 2)[:, None]
    values = 0.5 * (place == 1) + covariates @ [0.3, -0.2, 0.1] + generator.exponential(size=400)
    found = adjusted_groups(values, place, covariates.astype(np.int8))
    names = np.array([f"g{at}" for at in place])
    expected = adjusted_group_effects(values, names, covariates.astype(float), clusters=np.arange(400))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.low, expected.low, rtol=1e-9)
    np.testing.assert_allclose(found.high, expected.high, rtol=1e-9)


def test_a_column_that_others_make_up_changes_nothing() -> None:
    generator = np.random.default_rng(int(np.random.default_rng(9).integers(1 << 30)))
    place = generator.integers(0, 4, 300)
    covariates = generator.integers(0, 3, (300, 2))
    values = generator.normal(size=300) + covariates[:, 0]
    once = adjusted_groups(values, place, covariates)
    twice = adjusted_groups(values, place, np.column_stack([covariates, covariates.sum(axis=1), np.ones(300)]))
    np.testing.assert_allclose(twice.values, once.values, atol=1e-9)
    np.testing.assert_allclose(twice.low, once.low, atol=1e-9)
