"""Exact statistics of one feature from its non-zeros, as they pass through the merge.

Values are sorted once (float32). From the sorted copy: smallest, largest, quantiles by linear interpolation between
closest ranks at position q * (n - 1), and histogram counts by binary search. Sums are pairwise in float64. The top
examples are the largest values, ties by smaller sample id. Band examples: a uniform draw of non-zeros without
replacement, sorted into bands of the quantiles; the first ones of each band are kept, each uniform within its band.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import derive_seed
from mechscope.store.sparse.spec import Band, FeatureStats, Histogram, StoreSpec

__all__ = ["FeatureTable", "quantiles_of_sorted", "stats_of"]

EFFECTIVE_QUANTILE = 0.995
NO_SAMPLE = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class FeatureTable:
    """Statistics of `n` consecutive features, one row each; rows of dead features hold NaN and count 0."""

    arrays: dict[str, np.ndarray]

    @classmethod
    def empty(cls, n: int, spec: StoreSpec) -> FeatureTable:
        """A table to be filled by `measure`."""
        nan = np.nan
        return cls(
            {
                "count": np.zeros(n, np.int64),
                "sum": np.zeros(n, np.float64),
                "sum_squares": np.zeros(n, np.float64),
                "minimum": np.full(n, nan, np.float64),
                "maximum": np.full(n, nan, np.float64),
                "effective_maximum": np.full(n, nan, np.float64),
                "median": np.full(n, nan, np.float64),
                "quantiles": np.full((n, len(spec.quantiles)), nan, np.float64),
                "bands": np.full((n, spec.n_bands + 1), nan, np.float64),
                "histogram": np.zeros((n, spec.n_bins), np.int64),
                "top_samples": np.full((n, spec.n_top), NO_SAMPLE, np.uint32),
                "band_samples": np.full((n, spec.n_bands, spec.n_band_examples), NO_SAMPLE, np.uint32),
                "top_values": np.full((n, spec.n_top), nan, np.float32),
                "band_values": np.full((n, spec.n_bands, spec.n_band_examples), nan, np.float32),
            }
        )

    def measure(self, at: int, feature: int, samples: np.ndarray, values: np.ndarray, spec: StoreSpec) -> None:
        """Fill row `at` from the non-zeros of `feature` (samples ascending uint32 [n], values float32 [n])."""
        n = len(values)
        if n == 0:
            return
        ordered = np.sort(values)
        table = self.arrays
        table["count"][at] = n
        table["sum"][at] = values.sum(dtype=np.float64)
        table["sum_squares"][at] = np.square(values, dtype=np.float64).sum()
        table["minimum"][at], table["maximum"][at] = ordered[0], ordered[-1]
        edges = np.linspace(0, 1, spec.n_bands + 1)
        asked = quantiles_of_sorted(ordered, np.concatenate([[EFFECTIVE_QUANTILE, 0.5], spec.quantiles, edges]))
        table["effective_maximum"][at], table["median"][at] = asked[0], asked[1]
        table["quantiles"][at] = asked[2 : 2 + len(spec.quantiles)]
        table["bands"][at] = asked[2 + len(spec.quantiles) :]
        table["histogram"][at] = _histogram(ordered, spec.n_bins)
        self._keep_top(at, samples, values, float(ordered[max(0, n - spec.n_top)]), spec.n_top)
        self._draw_bands(at, feature, samples, values, spec)

    def _keep_top(self, at: int, samples: np.ndarray, values: np.ndarray, threshold: float, n_top: int) -> None:
        candidates = np.flatnonzero(values >= np.float32(threshold))
        # samples ascend, so a stable sort by falling value breaks ties by sample id
        best = candidates[np.argsort(-values[candidates], kind="stable")[:n_top]]
        self.arrays["top_samples"][at, : len(best)] = samples[best]
        self.arrays["top_values"][at, : len(best)] = values[best]

    def _draw_bands(self, at: int, feature: int, samples: np.ndarray, values: np.ndarray, spec: StoreSpec) -> None:
        generator = np.random.Generator(np.random.PCG64(derive_seed(spec.seed, "bands", feature)))
        n_draws = min(spec.n_band_draws, len(values))
        drawn = generator.choice(len(values), n_draws, replace=False)
        bands = np.searchsorted(self.arrays["bands"][at, 1:-1], values[drawn].astype(np.float64), side="left")
        order = np.argsort(bands, kind="stable")
        starts = np.searchsorted(bands[order], np.arange(spec.n_bands + 1))
        rank = np.arange(n_draws) - starts[bands[order]]
        kept = rank < spec.n_band_examples
        where = (at, bands[order][kept], rank[kept])
        self.arrays["band_samples"][where] = samples[drawn[order][kept]]
        self.arrays["band_values"][where] = values[drawn[order][kept]]


def quantiles_of_sorted(ordered: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Quantiles of ascending values, NumPy's "linear" definition, in float64. [n] and [q] give [q]."""
    position = quantiles * (len(ordered) - 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    low, high = ordered[below].astype(np.float64), ordered[above].astype(np.float64)
    weight = position - below
    step = high - low
    found: np.ndarray = np.where(weight < 0.5, low + step * weight, high - step * (1 - weight))
    return found


def _edges(minimum: float, maximum: float, n_bins: int) -> np.ndarray:
    low = min(0.0, minimum)
    edges: np.ndarray = low + (maximum - low) * (np.arange(n_bins + 1) / n_bins)
    edges[-1] = maximum
    return edges


def _histogram(ordered: np.ndarray, n_bins: int) -> np.ndarray:
    edges = _edges(float(ordered[0]), float(ordered[-1]), n_bins)
    # float32 values against the smallest float32 at or above each edge: the same split without a float64 copy
    low = edges[:-1].astype(np.float32)
    low = np.where(low.astype(np.float64) < edges[:-1], np.nextafter(low, np.float32(np.inf)), low)
    starts = np.searchsorted(ordered, low, side="left")
    return np.diff(np.append(starts, len(ordered)))


def stats_of(row: dict[str, np.ndarray], feature: int, n_samples: int, spec: StoreSpec) -> FeatureStats:
    """The stored statistics of one feature as a result; `row` holds one row of every array of its table."""
    count = int(row["count"])
    mean = float(row["sum"]) / n_samples
    return FeatureStats(
        feature=feature,
        n_samples=n_samples,
        n_nonzero=count,
        density=count / n_samples,
        total=float(row["sum"]),
        total_squares=float(row["sum_squares"]),
        mean=mean,
        sd=float(np.sqrt(max(0.0, float(row["sum_squares"]) / n_samples - mean * mean))),
        maximum=_known(row["maximum"]),
        min_nonzero=_known(row["minimum"]),
        median=_known(row["median"]),
        effective_maximum=_known(row["effective_maximum"]),
        quantiles={f"{q:g}": float(v) for q, v in zip(spec.quantiles, row["quantiles"], strict=True) if count},
        histogram=_read_histogram(row, spec) if count else None,
        top_samples=tuple(row["top_samples"][: min(count, spec.n_top)].tolist()),
        top_values=tuple(row["top_values"][: min(count, spec.n_top)].tolist()),
        bands=_read_bands(row, spec) if count else (),
    )


def _read_histogram(row: dict[str, np.ndarray], spec: StoreSpec) -> Histogram:
    edges = _edges(float(row["minimum"]), float(row["maximum"]), spec.n_bins)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(row["histogram"].tolist()))


def _read_bands(row: dict[str, np.ndarray], spec: StoreSpec) -> tuple[Band, ...]:
    bands = []
    for i in range(spec.n_bands):
        kept = ~np.isnan(row["band_values"][i])
        bands.append(
            Band(
                quantile_low=i / spec.n_bands,
                quantile_high=(i + 1) / spec.n_bands,
                low=float(row["bands"][i]),
                high=float(row["bands"][i + 1]),
                samples=tuple(row["band_samples"][i][kept].tolist()),
                values=tuple(row["band_values"][i][kept].tolist()),
            )
        )
    return tuple(bands)


def _known(value: np.ndarray) -> float | None:
    return None if np.isnan(value) else float(value)
