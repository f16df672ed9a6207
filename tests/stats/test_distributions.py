"""Quantiles and tails against scipy.stats, which is not imported otherwise."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import stats

from mechscope.stats.distributions import (
    binomial_quantile,
    normal_quantile,
    normal_tail,
    student_quantile,
    student_tail,
)


def test_quantiles_and_tails_are_those_of_scipy() -> None:
    shares, values = np.linspace(1e-4, 1 - 1e-4, 41), np.linspace(-40, 40, 81)
    np.testing.assert_allclose(normal_quantile(shares), stats.norm.ppf(shares), rtol=1e-13)
    np.testing.assert_allclose(normal_tail(values), stats.norm.sf(values), rtol=1e-13)
    for freedom in (1, 2.5, 30, 1e6, np.inf, np.nan, 0):
        np.testing.assert_allclose(student_quantile(shares, freedom), stats.t.ppf(shares, freedom), rtol=1e-13)
        np.testing.assert_allclose(student_tail(values, freedom), stats.t.sf(values, freedom), rtol=1e-13)


def test_counts_are_those_of_scipy() -> None:
    generator = np.random.default_rng()
    for _ in range(2000):
        n, rate = int(generator.integers(2, 3000)), float(generator.uniform(0.01, 0.99))
        at_a_step = float(stats.binom.cdf(n // 3, n, rate))
        # just below and just above a step, where both round alike
        share = float(generator.choice([generator.uniform(), 0.025, 0.975, at_a_step * (1 - 1e-9), at_a_step + 1e-9]))
        if 1e-12 < share < 1 - 1e-6:
            assert binomial_quantile(share, n, rate) == int(stats.binom.ppf(share, n, rate)), (share, n, rate)


def test_scipy_stats_is_not_imported() -> None:
    code = "import sys, mechscope.services.experiments, mechscope.models; print('scipy.stats' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
