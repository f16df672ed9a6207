"""Exact statistics of one feature from its non-zeros, as they pass through the merge.

Values are sorted once (float32). From the sorted copy: smallest, largest, quantiles by linear interpolation between
closest ranks at position q * (n - 1), and histogram counts by binary search. Sums are pairwise in float64. The top
examples are the largest values, ties by smaller sample id. Band examples: a uniform draw of non-zeros without
replacement, sorted into bands of the quantiles; the first ones of each band are kept, each uniform within its band.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mechscope.store.sparse.draws import draw_positions, first_in_bands
from mechscope.store.sparse.spec import Band, FeatureStats, Histogram, StoreSpec
from mechscope.store.sparse.tensors import crc_of

__all__ = ["FeatureTable", "quantiles_of_sorted", "row_check", "stats_of"]

EFFECTIVE_QUANTILE = 0.995
NO_SAMPLE = np.uint32(0xFFFFFFFF)


class _Entries(NamedTuple):
    samples: np.ndarray
    values: np.ndarray


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
                "entries_crc32": np.zeros(n, np.uint32),
                "row_crc32": np.zeros(n, np.uint32),
            }
        )

    def measure(
        self, at: int, feature: int, indptr: np.ndarray, samples: np.ndarray, values: np.ndarray, spec: StoreSpec
    ) -> None:
        """Fill the rows from `at` on with consecutive features, `feature` being the first.

        Args:
            indptr: int64 [n + 1]; each feature holds `samples[indptr[i]:indptr[i + 1]]`.
            samples: uint32, ascending within a feature. values: float32.
        """
        ordered = values.copy()
        for start, stop in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True):
            ordered[start:stop].sort()
        counts = np.diff(indptr)
        self.arrays["count"][at : at + len(counts)] = counts
        for i, (start, stop) in enumerate(zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)):
            self.arrays["entries_crc32"][at + i] = crc_of(samples[start:stop], values[start:stop])
        active = np.flatnonzero(counts)
        if not len(active):
            return
        starts, stops = indptr[active], indptr[active + 1]
        self._rank(at + active, ordered, starts, stops, spec)
        lowest = _first_float32(_edges(ordered[starts], ordered[stops - 1], spec.n_bins)[:, :-1])
        for i, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            row, own, piece = at + int(active[i]), values[start:stop], ordered[start:stop]
            self.arrays["sum"][row] = own.sum(dtype=np.float64)
            self.arrays["sum_squares"][row] = np.square(own, dtype=np.float64).sum()
            self.arrays["histogram"][row, :-1] = piece.searchsorted(lowest[i, 1:])
            self._keep_top(row, samples[start:stop], own, piece[max(0, len(piece) - spec.n_top)], spec.n_top)
        self._draw_bands(at + active, feature + active, starts, _Entries(samples, values), spec)
        begun = self.arrays["histogram"][at + active]  # so far each bin holds the entries below its upper edge
        begun[:, -1] = stops - starts
        begun[:, 1:] -= begun[:, :-1].copy()
        self.arrays["histogram"][at + active] = begun

    def seal(self) -> None:
        """Write the CRC-32 of every row, once all are filled."""
        for row in range(len(self.arrays["count"])):
            self.arrays["row_crc32"][row] = row_check({name: array[row] for name, array in self.arrays.items()})

    def _rank(
        self, rows: np.ndarray, ordered: np.ndarray, starts: np.ndarray, stops: np.ndarray, spec: StoreSpec
    ) -> None:
        n_quantiles = len(spec.quantiles)
        bands = np.arange(spec.n_bands + 1) / spec.n_bands
        asked = quantiles_of_sorted(
            ordered, starts, stops, np.concatenate([[EFFECTIVE_QUANTILE, 0.5], spec.quantiles, bands])
        )
        self.arrays["minimum"][rows], self.arrays["maximum"][rows] = ordered[starts], ordered[stops - 1]
        self.arrays["effective_maximum"][rows], self.arrays["median"][rows] = asked[:, 0], asked[:, 1]
        self.arrays["quantiles"][rows] = asked[:, 2 : 2 + n_quantiles]
        self.arrays["bands"][rows] = asked[:, 2 + n_quantiles :]

    def _keep_top(self, at: int, samples: np.ndarray, values: np.ndarray, threshold: np.float32, n_top: int) -> None:
        candidates = np.flatnonzero(values >= threshold)
        # samples ascend, so a stable sort by falling value breaks ties by sample id
        best = candidates[np.argsort(-values[candidates], kind="stable")[:n_top]]
        self.arrays["top_samples"][at, : len(best)] = samples[best]
        self.arrays["top_values"][at, : len(best)] = values[best]

    def _draw_bands(
        self, rows: np.ndarray, features: np.ndarray, starts: np.ndarray, entries: _Entries, spec: StoreSpec
    ) -> None:
        positions = draw_positions(self.arrays["count"][rows], features, spec.n_band_draws, seed=spec.seed)
        at = starts[:, None] + np.maximum(positions, 0)
        values = entries.values[at].astype(np.float64)
        index, band, place, draw = first_in_bands(positions, values, self.arrays["bands"][rows], spec.n_band_examples)
        where = (rows[index], band, place)
        self.arrays["band_samples"][where] = entries.samples[at[index, draw]]
        self.arrays["band_values"][where] = entries.values[at[index, draw]]


def row_check(row: dict[str, Any]) -> int:
    """CRC-32 of one row of every array of a table, itself left out."""
    return crc_of(*(np.atleast_1d(value) for name, value in row.items() if name != "row_crc32"))


def quantiles_of_sorted(
    ordered: np.ndarray, starts: np.ndarray, stops: np.ndarray, quantiles: np.ndarray
) -> np.ndarray:
    """Quantiles of each ascending piece `ordered[starts[i]:stops[i]]`, NumPy's "linear" definition: float64 [n, q]."""
    position = quantiles * (stops - starts - 1)[:, None]
    below = np.floor(position).astype(np.int64)
    weight = position - below
    first = starts[:, None] + below
    low = ordered[first].astype(np.float64)
    step = ordered[np.minimum(first + 1, (stops - 1)[:, None])] - low
    # from the nearer end, as NumPy does it, so that the result never passes the other one
    found: np.ndarray = np.where(weight < 0.5, low + step * weight, low + step - step * (1 - weight))
    return found


def _edges(minimum: np.ndarray, maximum: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin edges [n, n_bins + 1]: equal steps from min(0, minimum) to the maximum."""
    low, high = np.minimum(0.0, minimum.astype(np.float64)), maximum.astype(np.float64)
    edges: np.ndarray = low[:, None] + (high - low)[:, None] * (np.arange(n_bins + 1) / n_bins)
    edges[:, -1] = high
    return edges


def _first_float32(edges: np.ndarray) -> np.ndarray:
    """The smallest float32 at or above each float64 edge: it splits float32 values as the edge itself does."""
    rounded = edges.astype(np.float32)
    first: np.ndarray = np.where(rounded < edges, np.nextafter(rounded, np.float32(np.inf)), rounded)
    return first


def stats_of(row: dict[str, Any], feature: int, n_samples: int, spec: StoreSpec) -> FeatureStats:
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


def _read_histogram(row: dict[str, Any], spec: StoreSpec) -> Histogram:
    edges = _edges(row["minimum"][None], row["maximum"][None], spec.n_bins)[0]
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(row["histogram"].tolist()))


def _read_bands(row: dict[str, Any], spec: StoreSpec) -> tuple[Band, ...]:
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


def _known(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
