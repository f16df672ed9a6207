"""Shuffles of values over samples that keep what depends on each other together.

Units (clusters) exchange their values as wholes, and only units of equal size in one stratum do, so that the values'
distribution, their dependence within units and their distribution in each stratum stay exactly as they are. A unit that
lies in several strata is one unit in each. A unit alone with its size in its stratum keeps its values: `n_fixed`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mechscope.core import UsageError
from mechscope.stats.samples import as_clusters, as_column, check_resamples

__all__ = ["Shuffles"]

BLOCK_NUMBERS = 4_000_000
FEW_KINDS = 64


class Shuffles:
    """Shuffled copies of `values` [n].

    Args:
        values: finite, [n].
        units: [n], samples with equal names move together; None when each moves alone.
        strata: [n], values stay within equal names; None for no strata.

    Raises:
        UsageError: NaN, other lengths, or nothing that could move.
    """

    def __init__(
        self, values: np.ndarray, *, units: np.ndarray | None = None, strata: np.ndarray | None = None
    ) -> None:
        self.values = as_column(values)
        n = len(self.values)
        self.n_units, self.n_fixed, self.is_free = n, 0, True
        if units is not None or strata is not None:
            self._group(n, units, strata)

    def _group(self, n: int, units: np.ndarray | None, strata: np.ndarray | None) -> None:
        """Which samples are a unit, and which units are of one kind."""
        stratum = np.zeros(n, np.int64) if strata is None else as_clusters(strata, n, n_fewest=1)
        unit = as_clusters(units, n, n_fewest=1)
        _, unit, sizes = np.unique(unit * (int(stratum.max()) + 1) + stratum, return_inverse=True, return_counts=True)
        unit = unit.reshape(n)
        stratum_of_unit = np.empty(len(sizes), np.int64)
        stratum_of_unit[unit] = stratum
        _, kind, n_alike = np.unique(
            stratum_of_unit * (int(sizes.max()) + 1) + sizes, return_inverse=True, return_counts=True
        )
        self._kind = kind.reshape(-1)
        self._order = np.argsort(unit, kind="stable")  # samples by unit
        self._starts, self._sizes = np.cumsum(sizes) - sizes, sizes
        self._by_kind = np.argsort(self._kind, kind="stable")
        self.n_units = len(sizes)
        self.n_fixed = int(sizes[n_alike[self._kind] == 1].sum())
        self.is_free = len(n_alike) == 1 and self.n_units == n
        # units mostly of one sample: few sizes and strata, each dealt at once
        self._members = self._by_kinds() if not self.is_free and len(n_alike) <= FEW_KINDS else None
        if self.n_fixed == n:
            raise UsageError(
                f"{n} samples in {self.n_units} units, no two of one size in one stratum",
                expected="units that can exchange their values",
                todo="use coarser strata, or smaller units",
            )

    def _by_kinds(self) -> list[np.ndarray]:
        """The samples of the units of each kind that has two or more, [units, samples of a unit]."""
        found = []
        for kind in range(int(self._kind.max()) + 1):
            units = np.flatnonzero(self._kind == kind)
            if len(units) > 1:
                found.append(self._order[self._starts[units][:, None] + np.arange(self._sizes[units[0]])])
        return found

    def blocks(self, n_shuffles: int, *, seed: int, n_block: int | None = None) -> Iterator[np.ndarray]:
        """Shuffled values, blocks [n, b] of `n_shuffles` in all; see `places`."""
        for places in self.places(n_shuffles, seed=seed, n_block=n_block):
            yield self.values[places]

    def places(self, n_shuffles: int, *, seed: int, n_block: int | None = None) -> Iterator[np.ndarray]:
        """Whose value each sample gets, int64 blocks [n, b]; the draws do not depend on the size of the blocks.

        Cost: O(n) a shuffle, O(n log n) with units or strata. Memory: a block, 32 MB unless `n_block` is given.
        """
        check_resamples(n_shuffles, "n_shuffles")
        generator = np.random.default_rng(seed)
        n_block = n_block or max(1, BLOCK_NUMBERS // len(self.values))
        for start in range(0, n_shuffles, n_block):
            rows = [self._dealt(generator) for _ in range(min(n_block, n_shuffles - start))]
            yield np.ascontiguousarray(np.stack(rows, axis=1))

    def _dealt(self, generator: np.random.Generator) -> np.ndarray:
        """Whose value each sample gets, [n]."""
        if self.is_free:
            return generator.permutation(len(self.values))
        if self._members is not None:
            given = np.arange(len(self.values))
            for members in self._members:
                given[members] = generator.permutation(members)
            return given
        donor = np.empty(self.n_units, np.int64)
        donor[self._by_kind] = np.lexsort((generator.random(self.n_units), self._kind))
        # sample k of a unit gets the value of sample k of the unit that it is given
        shift = np.repeat(self._starts[donor] - self._starts, self._sizes)
        given = np.empty(len(self.values), np.int64)
        given[self._order] = self._order[np.arange(len(given)) + shift]
        return given
