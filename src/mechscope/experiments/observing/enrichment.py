"""Tokens in high rows against all other rows: log odds, exact tests, and a correction over all tokens at once.

1. k of the n_high high rows hold a token that K of all n rows hold. With the labels "high" dealt at random, k is
   hypergeometric: E k = n_high K / n, and cov(k_a, k_b) = n_high (n - n_high) / (n (n - 1)) x (K_ab - K_a K_b / n),
   with K_ab the rows that hold both.
2. p of a token: the exact two-sided hypergeometric tail.
3. Corrected: |k - E k| / sd against the joint normal with these covariances (max-T, step-down), and never below p.
   Rows that depend on each other (clusters) add the products of their scores to the covariances, where p is the
   larger of the exact one and the normal one.
   The halves of a sample take the correlations of the whole, of which they are random parts.
   Under cumulative coding the rungs of a family nearly coincide, and so cost hardly more than one test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mechscope.core import numpy_generator
from mechscope.core.kept import Kept, content_key
from mechscope.experiments.algorithms.bitsets import pack_bits
from mechscope.experiments.changing.cells import FEW
from mechscope.stats import Z_95
from mechscope.stats.distributions import normal_tail
from mechscope.stats.hypergeometric import hypergeometric_p
from mechscope.stats.max_t import HitCounts

__all__ = ["JointCounts", "count_in_high", "count_packed_in_high"]

N_DRAWS, ROWS_AT_ONCE = 1999, 20_000
BLOCK_ROWS, BLOCK_WORDS = 8192, 1024
JOINT = Kept["JointCounts"](1 << 22)
"""Of tokens in the same rows: the next feature of a corpus asks for the same."""


@dataclass(frozen=True, eq=False)
class JointCounts:
    """How the counts of tokens among high rows go together, whichever rows are high, and however many.

    Attributes:
        known: tokens that 5 rows or more hold, and as many do not, boolean [tokens].
        root: R with R R' the correlations of their counts, float32 [known, known].
    """

    known: np.ndarray
    root: np.ndarray

    @classmethod
    def of(cls, words: np.ndarray, n: int) -> JointCounts:
        """From which rows hold each token, packed, uint64 [tokens, words]; n rows in all. Kept."""
        return JOINT.get((n, content_key(words)), lambda: cls._read(words, n), lambda found: found.root.nbytes)

    @classmethod
    def _read(cls, words: np.ndarray, n: int) -> JointCounts:
        held = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
        known = (held >= FEW) & (n - held >= FEW)
        together = _together(words[known])
        return cls(known, _root(together - np.outer(held[known], held[known]) / n))

    def root_of(self, tokens: np.ndarray) -> np.ndarray:
        """The rows of the root for some of the tokens known, [tokens, known]."""
        found: np.ndarray = self.root[tokens[self.known]]
        return found


def count_in_high(
    masks: np.ndarray, high: np.ndarray, *, seed: int, should_correct: bool = True, clusters: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Counts, log odds (half a row added to each count) with Wald intervals, p and p_corrected, each [tokens].

    Tokens with fewer than 5 rows with or without them, and fewer than 5 high rows, keep their counts alone.

    Args:
        masks: which rows hold each token, boolean [n, tokens]. high: boolean [n]. seed: of the draws.
        should_correct: False leaves `p_corrected` NaN, for a half that only confirms.
        clusters: integers [n], equal where rows are not independent; None where all are.

    Cost: a population count of n / 64 words a pair of tokens.
    """
    extra = None if clusters is None else _together_in_clusters(masks, high, clusters)
    words, high_words = _packed(masks), _packed(high[:, None])[0]
    return count_packed_in_high(words, high_words, len(high), seed=seed, should_correct=should_correct, extra=extra)


def count_packed_in_high(
    words: np.ndarray,
    high: np.ndarray,
    n: int,
    *,
    seed: int,
    should_correct: bool = True,
    extra: np.ndarray | None = None,
    joint: JointCounts | None = None,
) -> dict[str, np.ndarray]:
    """As `count_in_high`, of rows packed into bits (in any order, the same for all).

    Args:
        words: which rows hold each token, uint64 [tokens, words]; no bit is set outside the rows that are looked at.
        high: uint64 [words]. n: how many rows are looked at.
        seed, should_correct: as there.
        extra: what dependent rows add to the covariances of the counts, [tokens, tokens]; None where rows are
            independent.
        joint: how counts go together, from all rows of which these are a random part; by default from these.
    """
    n_high = int(np.bitwise_count(high).sum())
    n_other = n - n_high
    k_high = np.bitwise_count(words & high).sum(axis=1, dtype=np.int64)
    k_other = np.bitwise_count(words).sum(axis=1, dtype=np.int64) - k_high
    a, b, c, d = (count + 0.5 for count in (k_high, n_high - k_high, k_other, n_other - k_other))
    log_odds, error = np.log(a * d / (b * c)), np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    held, is_dependent = k_high + k_other, extra is not None
    extra = np.zeros((len(held), len(held))) if extra is None else extra
    known = (held >= FEW) & (n - held >= FEW) & (n_high >= FEW) & (n_other >= FEW)
    p = np.where(known, hypergeometric_p(k_high, n, held, n_high), np.nan)

    excess = k_high - n_high * held / max(1, n)
    variance = n_high * n_other / (n * max(1, n - 1)) * held * (1 - held / max(1, n))
    with np.errstate(invalid="ignore", divide="ignore"):
        inflation = np.sqrt(1 + np.maximum(np.diag(extra), 0) / variance)
        if is_dependent:
            p = np.fmax(p, np.where(known, 2 * normal_tail(np.abs(excess) / (np.sqrt(variance) * inflation)), np.nan))
            error = error * np.where(known, inflation, 1.0)
    corrected = np.full(len(held), np.nan)
    if should_correct and known.any():
        joint = JointCounts.of(words, n) if joint is None else joint
        root = joint.root_of(known)
        if extra.any():
            covariance = root @ root.T * np.sqrt(np.outer(variance[known], variance[known]))
            more = extra[np.ix_(known, known)]
            covariance += more + np.diag(np.maximum(np.diag(more), 0) - np.diag(more))
            variance[known], root = np.diag(covariance), _root(covariance)
        hits = HitCounts(np.abs(excess[known]) / np.sqrt(variance[known]))
        hits.add(np.abs(_normals(seed, len(known))[:, : root.shape[1]] @ root.T))
        corrected[known] = hits.p_adjusted()

    def kept(values: np.ndarray) -> np.ndarray:
        return np.where(known, values, np.nan)

    return {
        "n_high_with": k_high, "n_high": np.full(len(held), n_high),
        "n_other_with": k_other, "n_other": np.full(len(held), n_other),
        "high_share": k_high / max(1, n_high), "other_share": k_other / max(1, n_other),
        "log_odds": kept(log_odds), "low": kept(log_odds - Z_95 * error), "high": kept(log_odds + Z_95 * error),
        "p": p, "p_corrected": np.fmax(p, corrected) if should_correct else corrected,
    }  # fmt: skip


def _root(covariance: np.ndarray) -> np.ndarray:
    """R with R R' the correlations. Single precision: the draws are an approximation to far fewer digits."""
    error = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(error, error))
    found: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
    return found


@lru_cache(maxsize=1)
def _normals(seed: int, n_tokens: int) -> np.ndarray:
    """Kept for the next count: all rows and their halves are counted one after the other."""
    return numpy_generator(seed, "high labels").standard_normal((N_DRAWS, n_tokens), dtype=np.float32)


def _together_in_clusters(masks: np.ndarray, high: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """What rows of one cluster add to the covariance of the counts: the products of different rows, [tokens, tokens].

    With v = (has - mean has)(is high - mean high) of each row, sum over clusters of (sum v)(sum v)' - sum v v'.
    """
    found, share, rate = np.zeros((masks.shape[1],) * 2), masks.mean(axis=0), high.mean()
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=clusters[order[0]] - 1))
    sizes = np.diff(starts, append=len(order))
    for size in np.unique(sizes[sizes > 1]):
        of_size = starts[sizes == size]
        for at in range(0, len(of_size), max(1, ROWS_AT_ONCE // int(size))):
            part = of_size[at : at + max(1, ROWS_AT_ONCE // int(size))]
            rows = order[part[:, None] + np.arange(size)].reshape(-1)
            scores = (masks[rows] - share) * (high[rows] - rate)[:, None]
            sums = scores.reshape(len(part), size, -1).sum(axis=1)
            found += sums.T @ sums - scores.T @ scores
    return found


def _packed(masks: np.ndarray) -> np.ndarray:
    """Columns of booleans [n, columns] with a row to a bit, uint64 [columns, words]."""
    n, n_columns = masks.shape
    words = np.zeros((n_columns, -(-n // 64)), np.uint64)
    for start in range(0, n, BLOCK_ROWS):  # a block is turned within the cache, however the masks lie in memory
        block = pack_bits(np.ascontiguousarray(masks[start : start + BLOCK_ROWS].T))
        words[:, start // 64 : start // 64 + block.shape[1]] = block
    return words


def _together(words: np.ndarray) -> np.ndarray:
    """In how many rows both of two packed columns are true, float64 [columns, columns]."""
    found = np.zeros((len(words), len(words)))
    for start in range(0, words.shape[1], BLOCK_WORDS):
        block = np.ascontiguousarray(words[:, start : start + BLOCK_WORDS])
        for at, own in enumerate(block):
            found[at, at:] += np.bitwise_count(block[at:] & own).sum(axis=1, dtype=np.uint32)
    return found + np.triu(found, 1).T
