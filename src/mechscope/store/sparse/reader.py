"""The reader: one feature or one sample by `pread`, statistics, and bounded scans in both orientations."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.store.atomic import read_json
from mechscope.store.manifests import read_manifest, verify
from mechscope.store.sparse.merge import cut_ranges, file_name
from mechscope.store.sparse.segments import CompressedRows, Segment
from mechscope.store.sparse.spec import FeatureStats, StoreSpec
from mechscope.store.sparse.statistics import stats_of
from mechscope.store.sparse.tensors import TensorFile, read_tensors
from mechscope.store.sparse.writer import KIND, current_generation

__all__ = ["FeatureBlock", "FeatureStore"]

BLOCK_NONZEROS = 2_000_000
OPEN_ROWS_MAX = 256
SCALARS = (
    "count",
    "sum",
    "sum_squares",
    "minimum",
    "maximum",
    "effective_maximum",
    "median",
    "top_samples",
    "top_values",
)


@dataclass(frozen=True)
class FeatureBlock:
    """Consecutive features from `first` on: feature `first + i` holds entries `indptr[i]:indptr[i + 1]`."""

    first: int
    indptr: np.ndarray
    samples: np.ndarray
    values: np.ndarray

    @property
    def n_features(self) -> int:
        """Features in the block."""
        return len(self.indptr) - 1


class FeatureStore:
    """The sparse activations of all features over a corpus, opened for reading. Use as a context manager.

    Reads are safe from several threads. A reader stays with the generation it opened, whatever is built meanwhile.

    Attributes:
        n_samples, n_features, nnz: sizes.
        key: what the store was made from; facts: the manifest's facts; spec: its build options.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        manifest = read_manifest(path, kind=KIND)
        self.key: dict[str, Any] = read_json(path / "key.json")
        self.facts = manifest.facts
        self.spec = StoreSpec.parse(self.facts["spec"], where=str(path / "manifest.json"))
        self.n_samples, self.n_features = int(self.facts["n_samples"]), int(self.facts["n_features"])
        self.nnz = int(self.facts["nnz"])
        self._segments = [Segment(*entry) for entry in self.facts["segments"]]
        self._segment_ends = [segment.end for segment in self._segments]
        names = [file_name(*pair) for pair in self.facts["ranges"]]
        self._firsts = [first for first, _ in self.facts["ranges"]]
        self._files = [TensorFile(path / "features" / name) for name in names]
        self._indptr = [file.read("indptr") for file in self._files]
        self._statistics = [TensorFile(path / "statistics" / name) for name in names]
        self._rows: dict[int, TensorFile] = {}
        self._is_closed = False

    @classmethod
    def open(cls, folder: Path | str, *, check: bool = False) -> FeatureStore:
        """Open the current generation of the store in `folder`.

        Args:
            folder: folder of the store.
            check: compare every file's checksum first (one read of all bytes); file sizes are always compared.

        Raises:
            BadDataError: no finished store there, or a damaged one.
        """
        path = current_generation(Path(folder))
        if check:
            verify(path, kind=KIND)
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; a second call does nothing."""
        for file in [*self._files, *self._statistics, *self._rows.values()]:
            file.close()
        self._is_closed = True

    def count(self, feature: int) -> int:
        """Non-zeros of one feature, without a read."""
        at, local = self._place(feature)
        return int(self._indptr[at][local + 1] - self._indptr[at][local])

    def counts(self) -> np.ndarray:
        """Non-zeros of every feature, int64 [n_features], without a read."""
        return np.concatenate([np.diff(indptr) for indptr in self._indptr])

    def feature(
        self, feature: int, *, buffers: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The non-zeros of one feature: (samples uint32 ascending, values float32). Two reads of 4 bytes an entry.

        Args:
            feature: id in 0..n_features-1.
            buffers: a uint32 and a float32 array with room for `count(feature)`; views into them are returned.

        Raises:
            NotFoundError: no such feature; the message names the valid range.
        """
        at, local = self._place(feature)
        start, stop = int(self._indptr[at][local]), int(self._indptr[at][local + 1])
        samples, values = (None, None) if buffers is None else buffers
        file = self._files[at]
        return file.read("samples", start, stop, out=samples), file.read("values", start, stop, out=values)

    def sample(self, sample: int) -> tuple[np.ndarray, np.ndarray]:
        """The active features of one sample: (features uint32 ascending, values float32). Three small reads."""
        if not 0 <= sample < self.n_samples:
            raise NotFoundError(
                f"sample {sample}", expected=f"0 to {self.n_samples - 1}", todo="choose a sample of this store"
            )
        at = bisect.bisect_right(self._segment_ends, sample)
        rows = self._row_file(at)
        local = sample - self._segments[at].first
        start, stop = map(int, rows.read("indptr", local, local + 2))
        return rows.read("features", start, stop), rows.read("values", start, stop)

    def stats(self, feature: int) -> FeatureStats:
        """Exact statistics of one feature, as stored by the build. A few kilobytes are read."""
        at, local = self._place(feature)
        file = self._statistics[at]
        row = {name: file.read(name, local, local + 1)[0] for name in file.places}
        return stats_of(row, feature, self.n_samples, self.spec)

    def column(self, name: str) -> np.ndarray:
        """One statistic of every feature, [n_features] (`top_` ones [n_features, n_top]): count, sum, sum_squares,
        minimum, maximum, effective_maximum, median (NaN where a feature is never active), top_samples, top_values."""
        if name not in SCALARS:
            raise NotFoundError(f"statistic {name!r}", expected=f"one of {', '.join(SCALARS)}", todo="choose one")
        self._require_open()
        return np.concatenate([file.read(name) for file in self._statistics])

    def feature_blocks(self, *, n_nonzeros: int = BLOCK_NONZEROS) -> Iterator[FeatureBlock]:
        """All features in order, in blocks of at most `n_nonzeros` entries (a denser single feature comes alone)."""
        self._require_open()
        for base, indptr, file in zip(self._firsts, self._indptr, self._files, strict=True):
            for low, high in cut_ranges(np.diff(indptr), n_nonzeros, len(indptr)):
                start, stop = int(indptr[low]), int(indptr[high])
                samples, values = file.read("samples", start, stop), file.read("values", start, stop)
                yield FeatureBlock(base + low, indptr[low : high + 1] - start, samples, values)

    def segments(self, *, holding: np.ndarray | None = None) -> Iterator[tuple[int, CompressedRows]]:
        """All samples in order, one stored segment at a time: (first sample, rows).

        With `holding` (ascending sample ids) only the segments that hold at least one of them.
        """
        for at, segment in enumerate(self._segments):
            if holding is not None and np.diff(np.searchsorted(holding, [segment.first, segment.end]))[0] == 0:
                continue
            rows = self._row_file(at)
            yield segment.first, CompressedRows(rows.read("indptr"), rows.read("features"), rows.read("values"))

    def extra(self, name: str) -> dict[str, np.ndarray]:
        """The tensors of an extra file that the builder added, by name without ending. Raises BadDataError."""
        return read_tensors(self.path / f"{name}.safetensors")[0]

    def verify(self) -> None:
        """Compare every checksum, and both orientations with each other. Raises BadDataError."""
        verify(self.path, kind=KIND)
        counts, totals = np.zeros(self.n_features, np.int64), np.zeros(self.n_features)
        for _, rows in self.segments():
            counts += np.bincount(rows.features, minlength=self.n_features)
            totals += np.bincount(rows.features, weights=rows.values, minlength=self.n_features)
        if not np.array_equal(counts, self.counts()) or not np.allclose(totals, self.column("sum"), rtol=1e-9, atol=0):
            raise BadDataError(
                f"{self.path}: rows and features do not hold the same entries",
                expected="equal counts and sums of every feature in both orientations",
                todo="delete the folder of the store and build it again",
            )

    def _place(self, feature: int) -> tuple[int, int]:
        self._require_open()
        if not 0 <= feature < self.n_features:
            raise NotFoundError(
                f"feature {feature} is not in this store",
                expected=f"an id from 0 to {self.n_features - 1}",
                todo="choose one of these, or open the store of the dictionary you mean",
            )
        at = bisect.bisect_right(self._firsts, feature) - 1
        return at, feature - self._firsts[at]

    def _row_file(self, at: int) -> TensorFile:
        self._require_open()
        file = self._rows.get(at)
        if file is None:
            file = TensorFile(self.path / "rows" / self._segments[at].name)
            if len(self._rows) < OPEN_ROWS_MAX:  # beyond it, a file closes when its last reader lets go of it
                self._rows[at] = file
        return file

    def _require_open(self) -> None:
        if self._is_closed:
            raise UsageError("this feature store is closed", expected="an open one", todo="open it again")
