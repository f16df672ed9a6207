"""Indices through shapiq are their definitions; without shapiq the message says what to install."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.experiments.algorithms.shapiq_indices import ShapiqIndex, has_shapiq, require_shapiq, shapiq_pairs

N = 5


def best_fit(values: np.ndarray, *, is_faithful_at_ends: bool) -> np.ndarray:
    """Weighted least squares of the game by terms of at most two players; Shapley's weights make both ends exact."""
    sets = np.arange(1 << N)
    sizes = np.bitwise_count(sets.astype(np.uint8)).astype(int)
    terms = [t for t in sets.tolist() if bin(t).count("1") <= 2]
    design = np.stack([(sets & t) == t for t in terms], axis=1).astype(float)
    weights = np.ones(1 << N)
    if is_faithful_at_ends:
        weights = np.array([1e9 if s in (0, N) else (N - 1) / (comb(N, s) * s * (N - s)) for s in sizes.tolist()])
    root = np.sqrt(weights)[:, None]
    fit = np.linalg.lstsq(root * design, root[:, 0] * values, rcond=None)[0]
    pairs = np.full((N, N), np.nan)
    for t, value in zip(terms, fit.tolist(), strict=True):
        members = [bit for bit in range(N) if t >> bit & 1]
        if len(members) == 2:
            pairs[members[0], members[1]] = pairs[members[1], members[0]] = value
    return pairs


def shapley_taylor(values: np.ndarray) -> np.ndarray:
    pairs = np.full((N, N), np.nan)
    for i, j in combinations(range(N), 2):
        total, ij = 0.0, 1 << i | 1 << j
        for s in range(1 << N):
            if not s & ij:
                second = values[s | ij] - values[s | 1 << i] - values[s | 1 << j] + values[s]
                total += second / comb(N - 1, bin(s).count("1"))
        pairs[i, j] = pairs[j, i] = 2 / N * total
    return pairs


@pytest.mark.parametrize("kind", ["STII", "FSII", "FBII"])
def test_an_index_of_shapiq_is_its_definition(kind: ShapiqIndex) -> None:
    pytest.importorskip("shapiq")
    for seed in range(3):
        values = np.random.default_rng([20250609, seed]).normal(size=1 << N)
        expected = shapley_taylor(values) if kind == "STII" else best_fit(values, is_faithful_at_ends=kind == "FSII")
        np.testing.assert_allclose(shapiq_pairs(values, kind), expected, atol=1e-5)


def test_what_lacks_or_does_not_fit_is_said() -> None:
    if has_shapiq():
        require_shapiq()
        with pytest.raises(UsageError, match="shape"):
            shapiq_pairs(np.zeros(12), "STII")
    else:
        with pytest.raises(UsageError, match="not installed"):
            shapiq_pairs(np.zeros(8), "STII")
