"""Two-sided hypergeometric p against SciPy's tails."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from mechscope.stats.hypergeometric import hypergeometric_p


def by_scipy(k: np.ndarray, n_rows: int, held: np.ndarray, n_chosen: int) -> np.ndarray:
    tails = np.minimum(hypergeom.sf(k - 1, n_rows, held, n_chosen), hypergeom.cdf(k, n_rows, held, n_chosen))
    return np.asarray(np.minimum(1.0, 2 * tails))


@pytest.mark.parametrize(("n_rows", "n_chosen"), [(12, 5), (50, 50), (50, 0), (300, 7), (300, 290), (4000, 600)])
def test_every_count_that_can_be(n_rows: int, n_chosen: int) -> None:
    for held in {0, 1, n_rows // 3, n_rows - 1, n_rows}:
        k = np.arange(max(0, n_chosen + held - n_rows), min(held, n_chosen) + 1)
        counts = np.full(len(k), held)
        np.testing.assert_allclose(
            hypergeometric_p(k, n_rows, counts, n_chosen), by_scipy(k, n_rows, counts, n_chosen), rtol=1e-8, atol=1e-290
        )


def test_many_rows() -> None:
    generator, n_rows, n_chosen = np.random.default_rng(0), 1_000_000, 50_000
    held = generator.integers(1, n_rows, 40)
    spread = np.sqrt(n_chosen * held / n_rows * (1 - held / n_rows))
    k = (n_chosen * held / n_rows + generator.normal(0, 3, 40) * spread).astype(np.int64).clip(0, held)
    # SciPy's own digits end at about 1e-7 for counts of this size
    np.testing.assert_allclose(
        hypergeometric_p(k, n_rows, held, n_chosen), by_scipy(k, n_rows, held, n_chosen), rtol=1e-6
    )
