"""What a feature store is built with, and what it says about one feature."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mechscope.core import Spec

__all__ = ["Band", "FeatureStats", "Histogram", "StoreSpec"]

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995)


class StoreSpec(Spec):
    """How a feature store is built.

    Attributes:
        codec: how entries lie on disk; "flat" is u32 samples and f32 values, 8 bytes an entry.
        n_top: samples kept with the largest values of each feature.
        n_bands: equal bands of the quantiles of the non-zeros, from which examples are drawn.
        n_band_examples: examples drawn from each band.
        n_band_draws: non-zeros drawn without replacement and sorted into the bands; the first ones are kept.
        n_bins: bins of the histogram of the non-zeros.
        quantiles: quantiles of the non-zeros that are stored, in (0, 1).
        block_nonzeros: entries merged in memory at once (about 40 bytes each); a denser single feature goes alone.
        file_nonzeros: entries in one feature-major file; the merge resumes at the next file.
        seed: root seed of the drawn examples.
    """

    codec: Literal["flat"] = "flat"
    n_top: int = Field(default=64, ge=1)
    n_bands: int = Field(default=10, ge=1)
    n_band_examples: int = Field(default=5, ge=0)
    n_band_draws: int = Field(default=150, ge=1)
    n_bins: int = Field(default=64, ge=1)
    quantiles: tuple[float, ...] = QUANTILES
    block_nonzeros: int = Field(default=2_000_000, ge=1)
    file_nonzeros: int = Field(default=64_000_000, ge=1)
    seed: int = 0


class Histogram(Spec):
    """Counts of the non-zeros in equal bins; bin i is [edges[i], edges[i+1]), the last one closed."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Band(Spec):
    """Examples drawn uniformly from the non-zeros with `low < value <= high` (the lowest band includes `low`)."""

    quantile_low: float
    quantile_high: float
    low: float
    high: float
    samples: tuple[int, ...]
    values: tuple[float, ...]


class FeatureStats(Spec):
    """Exact statistics of one feature over the whole store.

    `mean` and `sd` (population, divisor n_samples) count the zeros; `median`, `min_nonzero`, `quantiles`,
    `effective_maximum` (99.5th percentile, linear interpolation) and `histogram` are over the non-zeros alone and
    None for a feature that is never active.
    """

    feature: int
    n_samples: int
    n_nonzero: int
    density: float
    total: float
    total_squares: float
    mean: float
    sd: float
    maximum: float | None
    min_nonzero: float | None
    median: float | None
    effective_maximum: float | None
    quantiles: dict[str, float]
    histogram: Histogram | None
    top_samples: tuple[int, ...]
    top_values: tuple[float, ...]
    bands: tuple[Band, ...]
