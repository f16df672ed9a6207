"""How common something is among some samples, beside how common it is among all.

    share = n with it among the samples looked at / n looked at          interval: Wilson
    base  = n with it among all samples / n_samples
    lift  = share / base; its interval is the share's, divided by the base

Wilson intervals take samples as independent. Token positions of one row are not, so that over token positions the
intervals of shares and lifts are too narrow: read them as a ranking, not as a test.

Things are ranked by the end of the lift's interval that is nearer to 1, so that a rare thing seen twice does not lead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mechscope.core import Spec
from mechscope.stats.intervals import wilson

__all__ = ["Share", "leading", "shares_of", "trailing"]


class Share(Spec):
    """One thing's share: `n_with` of `n` samples looked at, `base_n_with` of `base_n` samples in all.

    `lift` and its ends are None where the thing is in no sample at all. `weighted_share` is its part of the activation
    mass (sum of activations over the samples that hold it / sum over all active samples) and `weighted_lift` that
    over the base. `mean` is the mean activation over all samples that hold it, zeros counted. `idf` is of tokens only.
    """

    name: str
    index: int
    n: int
    n_with: int
    share: float
    low: float
    high: float
    base_n: int
    base_n_with: int
    base_share: float
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    weighted_share: float | None = None
    weighted_lift: float | None = None
    mean: float | None = None
    idf: float | None = None


def shares_of(
    name_of: Callable[[int], str],
    indices: np.ndarray,
    n_with: np.ndarray,
    n: int,
    base_n_with: np.ndarray,
    base_n: int,
    *,
    mass: np.ndarray | None = None,
    total_mass: float = 0.0,
    idf: np.ndarray | None = None,
) -> list[Share]:
    """A `Share` for each of `indices`; the arrays are indexed by them."""
    low, high = wilson(n_with, np.full(len(n_with), n))
    found = []
    for i in indices.tolist():
        base = float(base_n_with[i]) / base_n
        share = float(n_with[i]) / n if n else 0.0
        weighted = float(mass[i]) / total_mass if mass is not None and total_mass else None
        held = int(base_n_with[i])
        found.append(
            Share(
                name=name_of(i),
                index=i,
                n=n,
                n_with=int(n_with[i]),
                share=share,
                low=float(low[i]),
                high=float(high[i]),
                base_n=base_n,
                base_n_with=held,
                base_share=base,
                lift=share / base if held else None,
                lift_low=float(low[i]) / base if held else None,
                lift_high=float(high[i]) / base if held else None,
                weighted_share=weighted,
                weighted_lift=weighted / base if weighted is not None and held else None,
                mean=float(mass[i]) / held if mass is not None and held else None,
                idf=None if idf is None else float(idf[i]),
            )
        )
    return found


def leading(n_with: np.ndarray, n: int, base_n_with: np.ndarray, *, k: int) -> np.ndarray:
    """Indices of the `k` things with the largest lower end of the lift, largest first; each seen at least once."""
    seen = np.flatnonzero((n_with > 0) & (base_n_with > 0))
    low, _ = wilson(n_with[seen], np.full(len(seen), n))
    order = np.argsort(-low / base_n_with[seen], kind="stable")
    first: np.ndarray = seen[order[:k]]
    return first


def trailing(n_with: np.ndarray, n: int, base_n_with: np.ndarray, base_n: int, *, k: int) -> np.ndarray:
    """Indices of the `k` things with the smallest upper end of the lift, smallest first, as far as it is below 1."""
    seen = np.flatnonzero(base_n_with > 0)
    _, high = wilson(n_with[seen], np.full(len(seen), n))
    lift = high * base_n / base_n_with[seen]
    order = np.argsort(lift, kind="stable")
    last: np.ndarray = seen[order[lift[order] < 1][:k]]
    return last
