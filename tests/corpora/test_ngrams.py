"""The trigram model against dictionaries of counts, and against what a probability must be."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from mechscope.core import BadDataError
from mechscope.corpora.ngrams import TrigramModel

V = 7


def random_rows(seed: int, n_rows: int = 30) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, V, generator.integers(1, 12)) ** 2 % V for _ in range(n_rows)]


def discount(counts: Counter) -> float:
    once, twice = (sum(c == n for c in counts.values()) for n in (1, 2))
    return once / (once + 2 * twice) if once and twice else 0.5


def slow_losses(train: list[np.ndarray], row: np.ndarray) -> list[float]:
    """The three formulas of the module, one token at a time, from dictionaries."""
    three: Counter = Counter()
    for r in train:
        padded = [V, *map(int, r)]
        three.update(zip(padded, padded[1:], padded[2:], strict=False))
    two = Counter((v, w) for _, v, w in three)
    one = Counter(w for _, w in two)

    def level(counts: Counter, context: tuple[int, ...], w: int, lower: float) -> float:
        inside = {key: c for key, c in counts.items() if (key if isinstance(key, tuple) else (key,))[:-1] == context}
        total = sum(inside.values())
        if not total:
            return lower
        key = (*context, w) if context else w
        d = discount(counts)
        return max(counts[key] - d, 0) / total + d * len(inside) / total * lower

    losses = []
    padded = [V, *map(int, row)]
    for u, v, w in zip(padded, padded[1:], padded[2:], strict=False):
        p1 = level(one, (), w, 1 / V)
        losses.append(-math.log(level(three, (u, v), w, level(two, (v,), w, p1))))
    return losses


def test_losses_equal_the_formulas_one_token_at_a_time() -> None:
    train, held_out = random_rows(1), random_rows(2)
    model = TrigramModel.fit(train, V)
    for row in held_out:
        assert model.losses(row).tolist() == pytest.approx(slow_losses(train, row))


def test_next_token_probabilities_sum_to_one_in_seen_and_unseen_contexts() -> None:
    model = TrigramModel.fit(random_rows(3, 8), V)
    for u in range(V):
        for v in range(V):
            total = sum(math.exp(-model.losses(np.array([u, v, w]))[-1]) for w in range(V))
            assert total == pytest.approx(1)


def test_a_fixed_order_is_learnt() -> None:
    rows = [np.arange(i, i + 10) % V for i in range(20)]
    assert TrigramModel.fit(rows, V).losses(np.arange(10) % V)[1:].max() < 0.1


def test_rows_without_two_tokens_are_refused() -> None:
    with pytest.raises(BadDataError, match="two tokens"):
        TrigramModel.fit([np.array([1])], V)
