"""Interpolated trigram model with Kneser-Ney smoothing: what counting alone can predict.

With c(uvw) the count of a trigram in training, N(.vw) the number of different tokens seen before `vw`, and discounts
D = n1 / (n1 + 2 n2) from the numbers of entries that occur once and twice:

    p3(w | uv) = max(c(uvw) - D3, 0) / c(uv.)   + D3 * types(uv.) / c(uv.)  * p2(w | v)
    p2(w | v)  = max(N(.vw) - D2, 0) / N(.v.)   + D2 * types(v.)  / N(.v.)  * p1(w)
    p1(w)      = max(N(.w)  - D1, 0) / N(..)    + D1 * types(.)   / N(..)   * 1 / V

An unseen context passes all its weight down. Each row is preceded by one virtual token, so that its second token has a
context too; like the causal model, it never predicts the first token of a row.

Kneser and Ney, "Improved backing-off for m-gram language modeling" (1995), in the interpolated form of Chen and
Goodman, "An empirical study of smoothing techniques for language modeling" (1999), section 2.7, one discount an order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import BadDataError

__all__ = ["TrigramModel"]


@dataclass(frozen=True, eq=False)
class _Order:
    """Discounted entries of one order. `keys` are sorted; a key is context * (V + 1) + w."""

    keys: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    types: np.ndarray
    discount: float


@dataclass(frozen=True, eq=False)
class TrigramModel:
    """A trigram model; made by `TrigramModel.fit`."""

    d_vocab: int
    orders: tuple[_Order, _Order, _Order]

    @classmethod
    def fit(cls, rows: Sequence[np.ndarray], d_vocab: int) -> TrigramModel:
        """Count trigrams in rows of token ids below `d_vocab`. Cost: two sorts of the tokens; memory 8 bytes a trigram.

        Raises BadDataError when no row has two tokens.
        """
        base = d_vocab + 1
        u, v, w = _trigrams(rows, d_vocab)
        if not len(w):
            raise BadDataError("no row has two tokens", expected="some text", todo="check the training rows")
        keys, counts = np.unique((u * base + v) * base + w, return_counts=True)
        pairs, before_pairs = np.unique(keys % base**2, return_counts=True)
        words, before_words = np.unique(pairs % base, return_counts=True)
        three = (_order(keys, counts, base), _order(pairs, before_pairs, base), _order(words, before_words, base))
        return cls(d_vocab, three)

    def losses(self, row: np.ndarray) -> np.ndarray:
        """-log p in nats of each token of a row after the first, float64 [len(row) - 1]."""
        base = self.d_vocab + 1
        u, v, w = _trigrams([row], self.d_vocab)
        p: np.ndarray = np.full(len(w), 1 / self.d_vocab)
        third, second, first = self.orders
        for order, context in ((first, np.zeros_like(w)), (second, v), (third, u * base + v)):
            p = _interpolated(order, context, w, base, p)
        losses: np.ndarray = -np.log(p)
        return losses


def _trigrams(rows: Sequence[np.ndarray], virtual: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    long_enough = [np.asarray(row, dtype=np.int64) for row in rows if len(row) > 1]
    if not long_enough:
        return (np.zeros(0, np.int64),) * 3
    parts = [(np.concatenate([[virtual], row[:-2]]), row[:-1], row[1:]) for row in long_enough]
    u, v, w = (np.concatenate(column) for column in zip(*parts, strict=True))
    return u, v, w


def _order(keys: np.ndarray, counts: np.ndarray, base: int) -> _Order:
    contexts, starts = np.unique(keys // base, return_index=True)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once and twice else 0.5
    types = np.diff(np.append(starts, len(keys)))
    return _Order(keys, counts, contexts, np.add.reduceat(counts, starts), types, discount)


def _interpolated(order: _Order, context: np.ndarray, w: np.ndarray, base: int, lower: np.ndarray) -> np.ndarray:
    at, is_known = _look_up(order.contexts, context)
    entry, is_seen = _look_up(order.keys, context * base + w)
    total = np.where(is_known, order.totals[at], 1)
    kept = np.where(is_seen, np.maximum(order.counts[entry] - order.discount, 0), 0) / total
    passed = np.where(is_known, order.discount * order.types[at] / total, 1.0)
    mixed: np.ndarray = kept + passed * lower
    return mixed


def _look_up(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted
