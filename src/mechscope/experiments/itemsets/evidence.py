"""What held-out rows say of itemsets that other rows chose: active against inactive rows, and a null with the margins.

Everything here is exact for independent rows. Where rows come in clusters (a document), p is the larger of Fisher's and
that of the score sum((x - mean x)(y - mean y)) with the variance of its cluster sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mechscope.core import numpy_generator
from mechscope.experiments.algorithms import BitColumns, NullKind, SetNull, count_under_null, hypergeometric_tail
from mechscope.experiments.algorithms.bitsets import pack_bits
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.itemsets.items import ItemTable
from mechscope.experiments.itemsets.lattice import generalised
from mechscope.stats import share_difference, wilson
from mechscope.stats.distributions import normal_tail

__all__ = ["DETAIL_COLUMNS", "EVIDENCE_COLUMNS", "HeldOutRows", "null_of_sets"]

NULL_ROWS = 8000
EVIDENCE_COLUMNS = (
    "n", "active_support", "active_support_low", "active_support_high", "inactive_support", "inactive_support_low",
    "inactive_support_high", "contrast", "contrast_low", "contrast_high", "lift", "leverage", "p",
)  # fmt: skip
DETAIL_COLUMNS = ("n_active", "n_inactive", "confidence", "growth", "p_parts")

Members = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Active and inactive held-out rows.

    Attributes:
        items: the items that sets are made of.
        active, inactive: corpus rows, int64.
        clusters: of the active rows, then of the inactive ones; None where each row is its own.
    """

    items: ItemTable
    active: np.ndarray
    inactive: np.ndarray
    clusters: np.ndarray | None

    def row(self, members: Members) -> dict[str, Any]:
        """The columns of one set: shares with 95 % intervals, measures of `set -> active`, and p values.

        p: one-sided, against all rows. p_parts: the largest p against a generalisation, in the rows that have that.
        Sets in fewer than 5 rows keep their counts alone.
        """
        has = self._has(members)
        k, n, n_other = _count(has & self._active), len(self.active), len(self.inactive)
        k_other = _count(has) - k
        found: dict[str, Any] = {"n": k + k_other, "n_active": n, "n_inactive": n_other, "flag": flag_of(k + k_other)}
        if k + k_other < FEW:
            return found
        share, other, total = k / n, k_other / n_other, n + n_other
        low, high = wilson(np.array([k, k_other]), np.array([n, n_other]))
        difference = share_difference(k, n, k_other, n_other)
        confidence = k / (k + k_other)
        return found | {
            "active_support": share,
            "active_support_low": low[0],
            "active_support_high": high[0],
            "inactive_support": other,
            "inactive_support_low": low[1],
            "inactive_support_high": high[1],
            "contrast": difference.value,
            "contrast_low": difference.low,
            "contrast_high": difference.high,
            "confidence": confidence,
            "lift": confidence * total / n,
            "leverage": k / total - (k + k_other) / total * (n / total),
            "growth": share / other if other else None,
            "p": self._p(has, self._has(())),
            "p_parts": max(self._p(has, self._has(part)) for part in generalised(members, self.items.has_lower)),
        }

    def _has(self, members: Members) -> np.ndarray:
        """Which rows have all items, a row to a bit, active ones first, uint64 [words]."""
        found = self._everyone.copy()
        for item in members:
            if item not in self._words:
                rows = np.concatenate([self.active, self.inactive])
                self._words[item] = pack_bits(self.items.items[item].holds(rows)[None])[0]
            found &= self._words[item]
        return found

    @cached_property
    def _words(self) -> dict[int, np.ndarray]:
        """Which rows have the items that were asked for."""
        return {}

    @cached_property
    def _everyone(self) -> np.ndarray:
        return np.asarray(pack_bits(np.ones((1, len(self.active) + len(self.inactive)), bool))[0])

    @cached_property
    def _active(self) -> np.ndarray:
        is_active = np.arange(len(self.active) + len(self.inactive)) < len(self.active)
        return np.asarray(pack_bits(is_active[None])[0])

    def _p(self, has: np.ndarray, within: np.ndarray) -> float:
        """Whether rows that have the set are active more often, among the rows `within`; all three packed."""
        counts = [np.array(_count(part & within)) for part in (has & self._active, self._active, has)]
        p = float(hypergeometric_tail(counts[0], n_rows=_count(within), n_first=counts[1], n_second=counts[2]))
        if self.clusters is None:
            return p
        inside, had, is_active = (self._unpacked(words) for words in (within, has, self._active))
        x, y = had[inside].astype(float), is_active[inside].astype(float)
        _, cluster = np.unique(self.clusters[inside], return_inverse=True)
        score = np.bincount(cluster.reshape(-1), weights=(x - x.mean()) * (y - y.mean()))
        spread = float(np.sqrt(np.square(score).sum()))
        return max(p, float(normal_tail(score.sum() / spread)) if spread > 0 else 1.0)

    def _unpacked(self, words: np.ndarray) -> np.ndarray:
        return BitColumns(words[None], np.arange(1), len(self.active) + len(self.inactive)).dense()[:, 0]


def _count(words: np.ndarray) -> int:
    return int(np.bitwise_count(words).sum())


def null_of_sets(
    columns: BitColumns, sets: Sequence[Members], *, null: NullKind, n_draws: int, seed: int
) -> tuple[SetNull, int]:
    """Sets, chosen on other rows, against rows in which items go together by chance alone; and the rows used.

    At most 8000 rows, drawn at random, bound the cost. O(draws x rows x items / 64).
    """
    if columns.n_rows > NULL_ROWS:
        kept = np.zeros(columns.n_rows, bool)
        kept[numpy_generator(seed, "rows of the null").choice(columns.n_rows, NULL_ROWS, replace=False)] = True
        columns = _only(columns, kept)
    longest = max((len(members) for members in sets), default=1)
    padded = np.array([[*members, *[-1] * (longest - len(members))] for members in sets], np.int64)
    return count_under_null(columns, padded, null=null, n_draws=n_draws, seed=seed), columns.n_rows


def _only(columns: BitColumns, kept: np.ndarray) -> BitColumns:
    return BitColumns.from_dense(columns.dense()[kept])
