"""One feature's activations, read once and shared by every part of its overview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from mechscope.core import BadDataError
from mechscope.features.inputs import FeatureInputs
from mechscope.store.sparse import FeatureStats

__all__ = ["REGIONS", "Activity"]

REGIONS: tuple[tuple[str, float, float | None], ...] = (
    ("floor", 0.0, 0.01),
    ("low", 0.01, 0.10),
    ("below core", 0.10, 0.25),
    ("core", 0.25, 0.75),
    ("high", 0.75, 0.90),
    ("flanderization zone", 0.90, None),
)
"""Name and bounds as shares of the effective maximum; low end excluded, high end included, zeros in the floor."""


@dataclass(frozen=True, eq=False)
class Activity:
    """The non-zeros of one feature.

    Attributes:
        samples: int64, ascending. values: float64. region: index into `REGIONS` of each.
    """

    feature: int
    stats: FeatureStats
    samples: np.ndarray
    values: np.ndarray
    region: np.ndarray

    @classmethod
    def read(cls, inputs: FeatureInputs, feature: int) -> Self:
        """Read the feature. Raises NotFoundError for an unknown one."""
        stats = inputs.store.stats(feature)
        samples, values = inputs.store.feature(feature)
        if len(values) and values.min() < 0:
            raise BadDataError(
                f"feature {feature} has activations below 0 (least {values.min():.3g})",
                expected="activations of at least 0: regions are shares of the effective maximum",
                todo="use a dictionary with a rectified code",
            )
        # the percentile is of float32 values, so that float64 bounds split them without a tie
        bounds = np.array([high for _, _, high in REGIONS if high is not None]) * (stats.effective_maximum or 1.0)
        region = np.searchsorted(bounds, values.astype(np.float64), side="left")
        return cls(feature, stats, samples.astype(np.int64), values.astype(np.float64), region)

    @property
    def n_active(self) -> int:
        """Number of samples with a non-zero activation."""
        return len(self.samples)

    def in_region(self, name: str) -> np.ndarray:
        """The active samples of one region."""
        index = [region[0] for region in REGIONS].index(name)
        inside: np.ndarray = self.samples[self.region == index]
        return inside

    def top(self, k: int) -> np.ndarray:
        """The `k` samples with the largest activations, largest first, ties by sample id."""
        k = min(k, len(self.samples))
        if k == 0:
            return self.samples[:0]
        threshold = np.partition(self.values, len(self.values) - k)[len(self.values) - k]
        candidates = np.flatnonzero(self.values >= threshold)
        order = np.argsort(-self.values[candidates], kind="stable")[:k]
        best: np.ndarray = self.samples[candidates[order]]
        return best

    def at(self, samples: np.ndarray) -> np.ndarray:
        """The activations of any samples, zeros included, float64."""
        if not len(self.samples):
            return np.zeros(len(samples))
        place = np.minimum(np.searchsorted(self.samples, samples), len(self.samples) - 1)
        found: np.ndarray = np.where(self.samples[place] == samples, self.values[place], 0.0)
        return found
