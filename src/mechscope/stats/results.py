"""What estimates and tests hand back: never a number without its sample size and the way it was made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["CellIntervals", "CellTests", "Interval", "Test"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes:
        value: the estimate; NaN where it is undefined (then `method` says why).
        low: lower end.
        high: upper end.
        n: samples that entered.
        n_clusters: independent units among them (`n` when each sample is its own).
        method: how the ends were found, in words.
        level: nominal coverage.
        has_few_clusters: fewer than 40 independent units: bootstrap ends would be too narrow.
    """

    value: float
    low: float
    high: float
    n: int
    n_clusters: int
    method: str
    level: float = 0.95
    has_few_clusters: bool = False

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside; False when an end is undefined."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class CellIntervals:
    """Many estimates at once, each array [cells]; NaN where a cell has fewer than two clusters with values.

    Attributes:
        value, low, high: float64.
        n: samples with a value in the cell.
        n_clusters: clusters with a value in the cell.
        methods: how the ends of each cell were found.
        level: nominal coverage of each cell by itself.
        has_few_clusters: boolean, cells with fewer than 40 clusters.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    n_clusters: np.ndarray
    methods: tuple[str, ...]
    level: float
    has_few_clusters: np.ndarray

    def __len__(self) -> int:
        return len(self.value)

    def cell(self, index: int) -> Interval:
        """The estimate of one cell."""
        ends = float(self.value[index]), float(self.low[index]), float(self.high[index])
        counts = int(self.n[index]), int(self.n_clusters[index])
        return Interval(*ends, *counts, self.methods[index], self.level, bool(self.has_few_clusters[index]))


@dataclass(frozen=True)
class Test:
    """A permutation test.

    Attributes:
        value: what was observed, in the units of the data (a mean difference, a correlation).
        p: (1 + hits) / (1 + n_permutations); never 0.
        n: samples that entered.
        n_clusters: exchangeable units among them.
        n_permutations: rearrangements other than the observed one that were compared.
        is_exact: all rearrangements were enumerated.
        method: how, in words.
    """

    __test__ = False  # keeps pytest from collecting it

    value: float
    p: float
    n: int
    n_clusters: int
    n_permutations: int
    is_exact: bool
    method: str


@dataclass(frozen=True)
class CellTests:
    """Permutation tests of many cells under the same rearrangements, each array [cells].

    Attributes:
        value: observed, in the units of the data; NaN where a cell has no test.
        statistic: the standardised statistic that max-T compares.
        p: of each cell by itself.
        p_adjusted: max-T p: the chance that any cell of the family does so well under the null.
        n: samples with a value in the cell.
        n_clusters: exchangeable units with a value in the cell.
        n_permutations: rearrangements other than the observed one.
        n_family: cells that were tested together.
        is_exact: all rearrangements were enumerated.
        method: how, in words.
    """

    value: np.ndarray
    statistic: np.ndarray
    p: np.ndarray
    p_adjusted: np.ndarray
    n: np.ndarray
    n_clusters: np.ndarray
    n_permutations: int
    n_family: int
    is_exact: bool
    method: str

    def __len__(self) -> int:
        return len(self.value)

    def cell(self, index: int) -> Test:
        """The test of one cell by itself: `p`, not `p_adjusted`."""
        counts = int(self.n[index]), int(self.n_clusters[index])
        value, p = float(self.value[index]), float(self.p[index])
        return Test(value, p, *counts, self.n_permutations, self.is_exact, self.method)
