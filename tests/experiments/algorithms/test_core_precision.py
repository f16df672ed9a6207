import math

import numpy as np
import pytest
from scipy.stats import binom

from mechscope.core import BadDataError, UsageError
from mechscope.experiments.algorithms.core_precision import bound_precision, kl_bounds


def test_bounds_solve_the_equation_they_are_defined_by() -> None:
    for k, n in ((1, 10), (50, 100), (97, 100)):
        for q in kl_bounds(k, n, delta=0.05):
            share = k / n
            divergence = share * math.log(share / q) + (1 - share) * math.log((1 - share) / (1 - q))
            assert n * divergence == pytest.approx(math.log(20), rel=1e-9)
    assert kl_bounds(100, 100, delta=0.05)[0] == pytest.approx(0.05**0.01)  # n log(1 / q) = log 20
    assert kl_bounds(100, 100, delta=0.05)[1] == 1
    assert kl_bounds(0, 100, delta=0.05)[0] == 0


@pytest.mark.parametrize("truth", [0.05, 0.5, 0.95])
def test_bounds_miss_no_more_often_than_delta_exactly(truth: float) -> None:
    missed_low = sum(binom.pmf(k, 60, truth) for k in range(61) if kl_bounds(k, 60, delta=0.05)[0] > truth)
    missed_high = sum(binom.pmf(k, 60, truth) for k in range(61) if kl_bounds(k, 60, delta=0.05)[1] < truth)
    assert missed_low <= 0.05
    assert missed_high <= 0.05


def test_stopping_when_it_decides_keeps_the_level() -> None:
    # precision exactly at the target, 75 looks: one bound of level .2 at each look would be crossed by most runs
    wrong_above = wrong_below = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)

        def holds(n: int, rng: np.random.Generator = rng) -> np.ndarray:
            return rng.random(n) < 0.5

        seen = bound_precision(holds, target=0.5, delta=0.2, batch_size=8, n_contexts_max=600)
        wrong_above += seen.low > 0.5
        wrong_below += seen.high < 0.5
    assert wrong_above <= 10
    assert wrong_below <= 10
    assert wrong_above + wrong_below <= 20


@pytest.mark.parametrize(("truth", "verdict"), [(1.0, "above"), (0.999, "above"), (0.8, "below")])
def test_clear_cases_are_decided(truth: float, verdict: str) -> None:
    rng = np.random.default_rng(1)
    seen = bound_precision(lambda n: rng.random(n) < truth)
    assert seen.verdict == verdict
    assert seen.low <= truth <= seen.high
    assert seen.n_contexts < 2048


def test_contexts_that_run_out_leave_it_open() -> None:
    left = [40]

    def holds(n: int) -> np.ndarray:
        given, left[0] = min(n, left[0]), max(0, left[0] - n)
        return np.ones(given, bool)

    seen = bound_precision(holds, batch_size=32)
    assert (seen.verdict, seen.n_contexts, seen.n_held) == ("open", 40, 40)
    nothing = bound_precision(lambda n: np.zeros(0, bool))
    assert (nothing.verdict, nothing.low, nothing.high, nothing.n_contexts) == ("open", 0.0, 1.0, 0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UsageError):
        bound_precision(lambda n: np.ones(n, bool), target=1.0)
    with pytest.raises(BadDataError):
        bound_precision(lambda n: np.ones(n + 1, bool))
