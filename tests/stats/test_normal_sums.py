"""Drawn sums have the covariances that are told, and totals the skewness."""

from __future__ import annotations

import numpy as np
from scipy.stats import skew

from mechscope.stats.normal_sums import NormalSums, skewness_of_sums

MASTER = 53


def test_sums_have_the_covariances_of_a_dealing() -> None:
    generator = np.random.default_rng((MASTER, 0))
    n, n_draws, blocks = 900, 30_000, np.arange(900) % 2
    held = np.concatenate([generator.random((n, 4)) < [0.1, 0.3, 0.5, 0.9], np.ones((n, 1))], axis=1).astype(float)
    held[:, 2] = np.maximum(held[:, 1], held[:, 2])
    grams = np.stack([held[blocks == block].T @ held[blocks == block] for block in (0, 1)])
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    drawn = NormalSums(grams, np.zeros(0)).draw(np.tile(covariance, (n_draws, 1, 1)), generator)
    by_block = np.concatenate([held * (blocks == block)[:, None] for block in (0, 1)], axis=1)
    expected = by_block.T @ by_block - np.outer(by_block.sum(axis=0), by_block.sum(axis=0)) / n
    for one in (0, 1):
        for other in (0, 1):
            x, y = (drawn[:, :, column].reshape(10, n_draws) for column in (one, other))
            scale = np.sqrt(
                np.outer(np.diag(expected) * covariance[one, one], np.diag(expected) * covariance[other, other])
            )
            np.testing.assert_allclose(x @ y.T / n_draws / scale, covariance[one, other] * expected / scale, atol=0.025)


def test_totals_have_the_skewness_of_a_dealing() -> None:
    generator = np.random.default_rng((MASTER, 1))
    n, values = 400, generator.lognormal(size=400)
    held = np.stack([np.arange(n) < 40, np.arange(n) < 360, np.ones(n)], axis=1).astype(float)
    skewness = np.array([skew(values)])
    drawn = NormalSums((held.T @ held)[None], skewness).draw(np.full((40_000, 1, 1), values.var(ddof=1)), generator)
    real = np.array([values[generator.permutation(n)[:40]].sum() for _ in range(40_000)])
    found = skew(drawn[0, :2, 0], axis=1)
    np.testing.assert_allclose(found, [skew(real), -skew(real)], atol=0.08)
    np.testing.assert_allclose(found, skewness * skewness_of_sums(np.array([40.0, 360.0]), n), atol=0.08)
    np.testing.assert_allclose(drawn[0, :2, 0].std(axis=1), real.std(), rtol=0.02)
    assert np.abs(drawn[0, 2]).max() < 1e-3  # all values together are what they are
