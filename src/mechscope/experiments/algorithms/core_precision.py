"""How often a core suffices in contexts it was not found in: a lower bound that may be looked at while it grows.

Anchors (Ribeiro et al. 2018) call a rule an anchor when its precision is above a target with confidence. For k of n
contexts the precision q is ruled out when n kl(k/n, q) > log(1 / delta), kl the divergence of two coins (Chernoff).
Contexts come in rounds; round r spends delta / (r (r + 1)), which sums to delta, so that stopping at the first round
that decides keeps the level. Where Anchors run bandit arms against each other, we have one core at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mechscope.core import BadDataError, UsageError

__all__ = ["Precision", "bound_precision", "kl_bounds"]


@dataclass(frozen=True)
class Precision:
    """Outcome over held-out contexts.

    Attributes:
        n_held, n_contexts: contexts in which the core sufficed, and contexts drawn.
        low, high: bounds on the precision, each missed with probability delta at most.
        target: as asked.
        verdict: "above" the target, "below" it, or "open" when the contexts ran out.
    """

    n_held: int
    n_contexts: int
    low: float
    high: float
    target: float
    verdict: str


def bound_precision(
    holds: Callable[[int], np.ndarray],
    *,
    target: float = 0.95,
    delta: float = 0.05,
    batch_size: int = 64,
    n_contexts_max: int = 2048,
) -> Precision:
    """Draw held-out contexts until the precision of a core is surely above or below `target`.

    Args:
        holds: `holds(n)` puts the core into n fresh held-out contexts and gives boolean [n]: it sufficed there. Fewer
            than n when no more contexts are left.
        target: precision asked for, in (0, 1).
        delta: chance of a wrong bound on either side, in (0, 1); divide it by the number of cores when there are more.
        batch_size: contexts in one round.
        n_contexts_max: stop there.

    Raises:
        UsageError: target, delta or sizes out of range.
        BadDataError: `holds` gave more than was asked for.
    """
    if not (0 < target < 1 and 0 < delta < 1 and batch_size > 0 and n_contexts_max > 0):
        raise UsageError(
            f"target={target}, delta={delta}, batch_size={batch_size}, n_contexts_max={n_contexts_max}",
            expected="target and delta in (0, 1), sizes of 1 or more",
            todo="a target of .95 with delta .05 is usual",
        )
    n_held = n_contexts = rounds = 0
    low, high, verdict = 0.0, 1.0, "open"
    while verdict == "open" and n_contexts < n_contexts_max:
        n_asked = min(batch_size, n_contexts_max - n_contexts)
        outcomes = holds(n_asked)
        if len(outcomes) > n_asked:
            raise BadDataError(f"{len(outcomes)} outcomes", expected=f"at most {n_asked}", todo="mend the callback")
        if len(outcomes):
            rounds += 1
            n_held, n_contexts = n_held + int(np.count_nonzero(outcomes)), n_contexts + len(outcomes)
            low, high = kl_bounds(n_held, n_contexts, delta=delta / (rounds * (rounds + 1)))
            verdict = "above" if low >= target else "below" if high < target else "open"
        if len(outcomes) < n_asked:
            break
    return Precision(n_held, n_contexts, low, high, target, verdict)


def kl_bounds(k: int, n: int, *, delta: float) -> tuple[float, float]:
    """Bounds on a share after `k` of `n`, each wrong with probability `delta` at most (Chernoff)."""
    share, level = k / n, math.log(1 / delta) / n
    return _edge(share, level, 0.0), _edge(share, level, 1.0)


def _edge(share: float, level: float, end: float) -> float:
    """Towards `end`, the furthest q with kl(share, q) <= level, by bisection; rounded outwards."""
    near, far = share, end
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if _divergence(share, middle) <= level else (near, middle)
    return far


def _divergence(p: float, q: float) -> float:
    left = p * math.log(p / q) if p > 0 else 0.0
    right = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    return left + right
