"""Max-T: one null for a whole family of cells, under the same rearrangements (Westfall and Young 1993).

Let t be the observed statistics [cells] and t* those of each rearrangement, taken in absolute value when two-sided.
Single-step: p_c = (1 + #{max over cells of t* >= t_c}) / (1 + B).
Step-down (Algorithm 4.1, free step-down): with cells ordered from the largest t, the maximum for the k-th runs over
the k-th and later cells only, and p may not fall along the order. Both hold the chance of any false discovery;
step-down is never the weaker. The joint null keeps the correlation of the cells, which Bonferroni throws away.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mechscope.core import UsageError

__all__ = ["HitCounts", "max_t"]

TOLERANCE = 1e-9  # statistics that differ by rounding only are ties, and ties are hits


class HitCounts:
    """Counts rearrangements that reach the observed statistics, block by block.

    Args:
        observed: [cells], larger speaks more against the null; NaN leaves a cell out of the family.
        is_step_down: whether adjusted p step down.
        size: size of the statistics by which rounding is judged, besides their own value.
        tolerance: share of that below which two statistics are a tie.
    """

    def __init__(
        self, observed: np.ndarray, *, is_step_down: bool = True, size: float = 0.0, tolerance: float = TOLERANCE
    ) -> None:
        known = np.flatnonzero(~np.isnan(observed))
        self.n_cells = len(observed)
        self.order = known[np.argsort(-observed[known], kind="stable")]
        self.bar = observed[self.order] - tolerance * np.maximum(size, np.abs(observed[self.order]))
        self.is_step_down = is_step_down
        self.n = 0
        self.raw = np.zeros(len(known), np.int64)
        self.joint = np.zeros(len(known), np.int64)

    def add(self, rearranged: np.ndarray) -> None:
        """Take in a block [b, cells]."""
        self.add_ordered(rearranged.T[self.order])

    def add_ordered(self, ordered: np.ndarray) -> None:
        """Take in a block whose cells are those of `order`, in that order, [cells, b]; it is overwritten.

        A cell's values lie side by side, so that maxima and counts go along whole rows.
        """
        self.n += ordered.shape[1]
        hits = _reaching(ordered, self.bar)
        self.raw += hits
        if len(self.order) < 2:
            self.joint += hits
        elif self.is_step_down:
            # one row into the next: along an axis numpy accumulates three times as slowly
            for at in range(len(ordered) - 2, -1, -1):
                np.maximum(ordered[at], ordered[at + 1], out=ordered[at])
            self.joint += _reaching(ordered, self.bar)
        else:
            highest = np.sort(ordered.max(axis=0))
            self.joint += len(highest) - np.searchsorted(highest, self.bar)

    def p(self) -> np.ndarray:
        """(1 + hits) / (1 + B) of each cell by itself, NaN outside the family."""
        return self._spread((1 + self.raw) / (1 + self.n))

    def p_adjusted(self) -> np.ndarray:
        """The max-T p of each cell, NaN outside the family."""
        return self._spread(np.maximum.accumulate((1 + self.joint) / (1 + self.n)))

    def _spread(self, ordered: np.ndarray) -> np.ndarray:
        out = np.full(self.n_cells, np.nan)
        out[self.order] = ordered
        return out


def _reaching(values: np.ndarray, bar: np.ndarray) -> np.ndarray:
    """How many of each row of values [cells, b] are at least its bar [cells]."""
    # bars in the precision of the values: two precisions are compared in the slower one
    packed = np.packbits(values >= bar.astype(values.dtype)[:, None], axis=1)
    return np.asarray(np.bitwise_count(packed).sum(axis=1, dtype=np.int64))


def max_t(observed: np.ndarray, rearranged: Iterable[np.ndarray], *, is_step_down: bool = True) -> np.ndarray:
    """Adjusted p [cells] from statistics under the null that the caller made, such as refits on shuffled labels.

    Args:
        observed: [cells], larger speaks more against the null (take absolute values for two-sided tests).
        rearranged: blocks [b, cells], the same statistics under rearrangements other than the observed one.
        is_step_down: False for the single-step version.

    Raises:
        UsageError: no rearrangements, NaN among them, or another number of cells.
    """
    hits = HitCounts(np.asarray(observed, dtype=np.float64), is_step_down=is_step_down)
    for block in rearranged:
        if block.ndim != 2 or block.shape[1] != hits.n_cells or np.isnan(block[:, hits.order]).any():
            raise UsageError(
                f"a block of shape {block.shape} for {hits.n_cells} cells, or with NaN",
                expected=f"[b, {hits.n_cells}] without NaN",
                todo="compute every statistic under every rearrangement",
            )
        hits.add(block)
    if not hits.n:
        raise UsageError("no rearrangements", expected="at least one", todo="make more")
    return hits.p_adjusted()
