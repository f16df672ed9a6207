"""Ends from bundles of units against the bootstrap of the units."""

import numpy as np
import pytest

from mechscope.stats import bootstrap_group_difference, bootstrap_mean
from mechscope.stats.bundles import bundle_units, bundled_difference, bundled_mean


def test_bundles_give_the_ends_of_units() -> None:
    generator = np.random.default_rng(31)
    units = np.repeat(np.arange(6000), 2)
    values = np.where(generator.random(12_000) < 0.3, generator.lognormal(size=12_000), 0.0) + units % 2
    has = generator.random(12_000) < 0.05
    bundles = bundle_units(units, 6000, seed=0)
    assert bundles is not None
    assert len(np.unique(bundles[units == 7])) == 1
    assert np.ptp(np.bincount(bundles)) <= 2
    exact = bootstrap_mean(values, seed=1, clusters=units)
    apart = bootstrap_group_difference(values, has, seed=1, clusters=units)
    for got, found in (
        (bundled_mean(values, bundles, seed=1), exact),
        (bundled_difference(values, has, bundles, seed=1), apart),
    ):
        assert got[0] == pytest.approx(found.value)
        width = found.high - found.low
        assert got[1] == pytest.approx(found.low, abs=0.12 * width)
        assert got[2] == pytest.approx(found.high, abs=0.12 * width)
    assert bundle_units(units[:8192], 4096, seed=0) is None
