"""The reader: one feature or one sample by `pread`, statistics, and bounded scans in both orientations.

Nothing is believed unchecked: headers, offsets, counts and the manifest's facts are checked when the store is opened,
entries against their CRC-32 when they are first read (and then remembered while the store is open).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from mechscope.core import BadDataError, NotFoundError, UsageError, digest_of
from mechscope.store.atomic import read_json
from mechscope.store.manifests import read_manifest, verify
from mechscope.store.sparse.merge import cut_ranges, file_name
from mechscope.store.sparse.segments import CHUNK_SAMPLES, CompressedRows, Segment, read_chunk
from mechscope.store.sparse.spec import FeatureStats, StoreSpec
from mechscope.store.sparse.statistics import row_check, stats_of
from mechscope.store.sparse.tensors import TensorFile, crc_of, read_tensors
from mechscope.store.sparse.writer import FORMAT, KIND, current_generation

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
        _require_facts(path, self.facts)
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
        for file, indptr, statistics in zip(self._files, self._indptr, self._statistics, strict=True):
            _require_offsets(file, indptr, statistics.read_checked("count"))
        self._entries_crc32 = np.concatenate([file.read_checked("entries_crc32") for file in self._statistics])
        self._is_checked = np.zeros(self.n_features, bool)
        self._checked_segments: set[int] = set()
        self._checked_chunks: set[tuple[int, int]] = set()
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
        try:
            if check:
                verify(path, kind=KIND)
            return cls(path)
        except UsageError as error:  # a manifest whose keys are not a manifest's
            raise _damaged(path, f"cannot be read: {error.seen}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged(path, f"cannot be read ({error})") from error

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
            BadDataError: the entries are not those that were written.
        """
        at, local = self._place(feature)
        start, stop = int(self._indptr[at][local]), int(self._indptr[at][local + 1])
        samples, values = (None, None) if buffers is None else buffers
        file = self._files[at]
        found = file.read("samples", start, stop, out=samples), file.read("values", start, stop, out=values)
        if not self._is_checked[feature]:
            self._check(feature, *found)
        return found

    def sample(self, sample: int) -> tuple[np.ndarray, np.ndarray]:
        """The active features of one sample: (features uint32 ascending, values float32). Three small reads.

        The first read of a chunk of samples reads all of it, to check it. Raises NotFoundError, BadDataError.
        """
        if not 0 <= sample < self.n_samples:
            raise NotFoundError(
                f"sample {sample}", expected=f"0 to {self.n_samples - 1}", todo="choose a sample of this store"
            )
        at = bisect.bisect_right(self._segment_ends, sample)
        rows = self._row_file(at)
        local = sample - self._segments[at].first
        chunk, within = divmod(local, CHUNK_SAMPLES)
        if at not in self._checked_segments and (at, chunk) not in self._checked_chunks:
            held = read_chunk(rows, chunk)
            self._checked_chunks.add((at, chunk))
            inside = slice(int(held.indptr[within]), int(held.indptr[within + 1]))
            return held.features[inside].copy(), held.values[inside].copy()
        start, stop = map(int, rows.read("indptr", local, local + 2))
        return rows.read("features", start, stop), rows.read("values", start, stop)

    def stats(self, feature: int) -> FeatureStats:
        """Exact statistics of one feature, as stored by the build. A few kilobytes are read."""
        at, local = self._place(feature)
        file = self._statistics[at]
        row = {name: file.read(name, local, local + 1)[0] for name in file.places}
        if row_check(row) != int(row["row_crc32"]):
            raise _damaged(file.path, f"holds other statistics of feature {feature} than were written")
        return stats_of(row, feature, self.n_samples, self.spec)

    def column(self, name: str) -> np.ndarray:
        """One statistic of every feature, [n_features] (`top_` ones [n_features, n_top]): count, sum, sum_squares,
        minimum, maximum, effective_maximum, median (NaN where a feature is never active), top_samples, top_values."""
        if name not in SCALARS:
            raise NotFoundError(f"statistic {name!r}", expected=f"one of {', '.join(SCALARS)}", todo="choose one")
        self._require_open()
        return np.concatenate([file.read_checked(name) for file in self._statistics])

    def feature_blocks(self, *, n_nonzeros: int = BLOCK_NONZEROS) -> Iterator[FeatureBlock]:
        """All features in order, in blocks of at most `n_nonzeros` entries (a denser single feature comes alone)."""
        self._require_open()
        for base, indptr, file in zip(self._firsts, self._indptr, self._files, strict=True):
            for low, high in cut_ranges(np.diff(indptr), n_nonzeros, len(indptr)):
                start, stop = int(indptr[low]), int(indptr[high])
                samples, values = file.read("samples", start, stop), file.read("values", start, stop)
                for i in np.flatnonzero(~self._is_checked[base + low : base + high]).tolist():
                    own = slice(int(indptr[low + i]) - start, int(indptr[low + i + 1]) - start)
                    self._check(base + low + i, samples[own], values[own])
                yield FeatureBlock(base + low, indptr[low : high + 1] - start, samples, values)

    def segments(self, *, holding: np.ndarray | None = None) -> Iterator[tuple[int, CompressedRows]]:
        """All samples in order, one stored segment at a time: (first sample, rows).

        With `holding` (ascending sample ids) only the segments that hold at least one of them.
        """
        for at, segment in enumerate(self._segments):
            if holding is not None and np.diff(np.searchsorted(holding, [segment.first, segment.end]))[0] == 0:
                continue
            rows = self._row_file(at)
            read = rows.read if at in self._checked_segments else rows.read_checked
            held = CompressedRows(read("indptr"), read("features"), read("values"))
            self._checked_segments.add(at)
            yield segment.first, held

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

    def _check(self, feature: int, samples: np.ndarray, values: np.ndarray) -> None:
        if crc_of(samples, values) != self._entries_crc32[feature]:
            raise _damaged(self.path, f"holds other entries of feature {feature} than were written")
        self._is_checked[feature] = True

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


def _require_facts(path: Path, facts: dict[str, Any]) -> None:
    if facts.get("store_format") != FORMAT:
        raise BadDataError(
            f"{path} holds a feature store of format {facts.get('store_format', 1)}",
            expected=f"format {FORMAT}, which can be checked while it is read",
            todo="build the features again: the activations and the dictionary are still good",
        )
    if digest_of({name: value for name, value in facts.items() if name != "digest"}) != facts.get("digest"):
        raise _damaged(path, "has other facts in its manifest than were written")


def _require_offsets(file: TensorFile, indptr: np.ndarray, counts: np.ndarray) -> None:
    if len(indptr) != len(counts) + 1 or indptr[0] != 0 or not np.array_equal(np.diff(indptr), counts):
        raise _damaged(file.path, "holds offsets that do not fit the counts in its statistics")


def _damaged(path: Path, what: str) -> BadDataError:
    return BadDataError(
        f"{path} {what}",
        expected="an undamaged feature store",
        todo="delete the folder of the store and build it again",
    )
