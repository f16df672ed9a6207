"""Tokens in high rows against all other rows: log odds, exact tests, and a correction over all tokens at once.

1. k of the n_high high rows hold a token that K of all n rows hold. With the labels "high" dealt at random, k is
   hypergeometric: E k = n_high K / n, and cov(k_a, k_b) = n_high (n - n_high) / (n (n - 1)) x (K_ab - K_a K_b / n),
   with K_ab the rows that hold both.
2. p of a token: the exact two-sided hypergeometric tail.
3. Corrected: |k - E k| / sd against the joint normal with these covariances (max-T, step-down), and never below p.
   Under cumulative coding the rungs of a family nearly coincide, and so cost hardly more than one test.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import hypergeom

from mechscope.core import numpy_generator
from mechscope.experiments.changing.cells import FEW
from mechscope.stats import Z_95
from mechscope.stats.max_t import HitCounts

__all__ = ["count_in_high"]

N_DRAWS = 4999


def count_in_high(
    masks: np.ndarray, high: np.ndarray, *, seed: int, should_correct: bool = True
) -> dict[str, np.ndarray]:
    """Counts, log odds (half a row added to each count) with Wald intervals, p and p_corrected, each [tokens].

    Tokens with fewer than 5 rows with or without them, and fewer than 5 high rows, keep their counts alone.

    Args:
        masks: which rows hold each token, boolean [n, tokens]. high: boolean [n]. seed: of the draws.
        should_correct: False leaves `p_corrected` NaN, for a half that only confirms.

    Cost: a population count of n / 64 words a pair of tokens.
    """
    n_high, n_other = int(high.sum()), int((~high).sum())
    words = _packed(masks)
    k_high = np.bitwise_count(words & _packed(high[:, None])).sum(axis=1, dtype=np.int64)
    k_other = np.bitwise_count(words).sum(axis=1, dtype=np.int64) - k_high
    a, b, c, d = (count + 0.5 for count in (k_high, n_high - k_high, k_other, n_other - k_other))
    log_odds, error = np.log(a * d / (b * c)), np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    held, n = k_high + k_other, n_high + n_other
    tails = np.minimum(hypergeom.sf(k_high - 1, n, held, n_high), hypergeom.cdf(k_high, n, held, n_high))
    known = (held >= FEW) & (n - held >= FEW) & (n_high >= FEW) & (n_other >= FEW)
    p = np.where(known, np.minimum(1.0, 2 * tails), np.nan)

    excess = k_high - n_high * held / max(1, n)
    corrected = _corrected(words, n, excess, known, n_high, seed) if should_correct else np.full(len(held), np.nan)

    def kept(values: np.ndarray) -> np.ndarray:
        return np.where(known, values, np.nan)

    return {
        "n_high_with": k_high, "n_high": np.full(len(held), n_high),
        "n_other_with": k_other, "n_other": np.full(len(held), n_other),
        "high_share": k_high / max(1, n_high), "other_share": k_other / max(1, n_other),
        "log_odds": kept(log_odds), "low": kept(log_odds - Z_95 * error), "high": kept(log_odds + Z_95 * error),
        "p": p, "p_corrected": np.fmax(p, corrected) if should_correct else corrected,
    }  # fmt: skip


def _corrected(words: np.ndarray, n: int, excess: np.ndarray, known: np.ndarray, n_high: int, seed: int) -> np.ndarray:
    """Max-T p of the excess counts [tokens], NaN where not known."""
    hits = HitCounts(np.full(len(known), np.nan))
    if known.any():
        together = _together(words[known])
        held = np.diag(together)
        covariance = (together - np.outer(held, held) / n) * (n_high * (n - n_high) / (n * max(1, n - 1)))
        error = np.sqrt(np.diag(covariance))
        size = np.full(len(known), np.nan)
        size[known] = np.abs(excess[known]) / error
        hits = HitCounts(size)
        values, vectors = np.linalg.eigh(covariance / np.outer(error, error))
        root = vectors * np.sqrt(np.maximum(values, 0))
        drawn = np.zeros((N_DRAWS, len(known)))
        drawn[:, known] = np.abs(numpy_generator(seed, "high labels").standard_normal((N_DRAWS, len(held))) @ root.T)
        hits.add(drawn)
    return hits.p_adjusted()


def _packed(masks: np.ndarray) -> np.ndarray:
    """Columns of booleans [n, columns] with a row to a bit, uint64 [columns, words]."""
    packed = np.packbits(np.ascontiguousarray(masks.T), axis=1)
    words = np.zeros((len(packed), -(-packed.shape[1] // 8)), np.uint64)
    words.view(np.uint8)[:, : packed.shape[1]] = packed
    return words


def _together(words: np.ndarray) -> np.ndarray:
    """In how many rows both of two packed columns are true, float64 [columns, columns]."""
    found = np.zeros((len(words), len(words)))
    for at, own in enumerate(words):
        found[at, at:] = np.bitwise_count(words[at:] & own).sum(axis=1, dtype=np.int64)
    return found + np.triu(found, 1).T
