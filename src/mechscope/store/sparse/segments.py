"""Segments: one contiguous range of samples, row-major for good and feature-major until the merge.

    rows/<first>-<end>.safetensors   indptr int64 [n + 1], features uint32 [nnz], values float32 [nnz],
                                     chunk_crc32 uint32 [n / 256]: of indptr, features and values of 256 samples each
    runs/<first>-<end>.safetensors   indptr int64 [n_features + 1], samples uint32 [nnz], values float32 [nnz]

Both carry their range and a checksum of their tensors in the header. A run is a counting sort of its rows and can be
made from them again, so it is no loss when one is missing. Sample ids are global.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from mechscope.core import BadDataError, UsageError
from mechscope.store.sparse.tensors import TensorFile, crc_of, read_tensors, write_tensors

__all__ = ["CompressedRows", "Segment", "find_segments", "read_rows", "transpose", "write_run", "write_segment"]

N_SAMPLES_MAX = 2**32
CHUNK_SAMPLES = 256


@dataclass(frozen=True)
class CompressedRows:
    """Sparse rows: row `i` holds `features[indptr[i]:indptr[i + 1]]` (uint32, ascending) and `values` (float32)."""

    indptr: np.ndarray
    features: np.ndarray
    values: np.ndarray

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1


@dataclass(frozen=True)
class Segment:
    """A published segment: samples `first` (included) to `end` (excluded)."""

    first: int
    end: int
    nnz: int

    @property
    def name(self) -> str:
        """File name, in order of samples when sorted."""
        return f"{self.first:012d}-{self.end:012d}.safetensors"


def canonical_rows(rows: CompressedRows, n_features: int, first_sample: int) -> CompressedRows:
    """The same rows with features ascending in each, checked.

    Raises:
        UsageError: sample ids would pass 2**32 - 1, which the "flat" codec cannot hold.
        BadDataError: a value that is NaN, infinite or an explicit zero, an id out of range, one feature twice in a
            sample, or arrays that do not fit together. The message names the sample.
    """
    _check_shape(rows, n_features, first_sample)
    fault = ~np.isfinite(rows.values) | (rows.values == 0)
    if fault.any():
        at = int(np.flatnonzero(fault)[0])
        raise BadDataError(
            f"sample {first_sample + _row_of(rows, at)} has {rows.values[at]} for feature {rows.features[at]}",
            expected="finite, non-zero values",
            todo="look for NaN in the activations or the dictionary of this sample",
        )
    matrix = _matrix(rows, n_features)
    matrix.sort_indices()
    features = matrix.indices.astype(np.uint32)
    begins_row = np.zeros(len(features) + 1, bool)
    begins_row[rows.indptr] = True
    twice = np.flatnonzero((features[1:] == features[:-1]) & ~begins_row[1 : len(features)])
    if len(twice):
        raise BadDataError(
            f"sample {first_sample + _row_of(rows, int(twice[0]))} names feature {features[twice[0]]} twice",
            expected="each feature at most once in a sample",
            todo="sum or drop the duplicates before storing",
        )
    return CompressedRows(rows.indptr.astype(np.int64), features, matrix.data)


def write_segment(folder: Path, first_sample: int, rows: CompressedRows, n_features: int) -> Segment:
    """Check, sort and publish one segment under `folder`: the run first, then the rows, which make it count.

    Memory: about 40 bytes an entry on top of `rows`.
    """
    checked = canonical_rows(rows, n_features, first_sample)
    segment = Segment(first_sample, first_sample + checked.n_samples, len(checked.values))
    write_run(folder, segment, checked, n_features)
    arrays = {"indptr": checked.indptr, "features": checked.features, "values": checked.values}
    arrays["chunk_crc32"] = chunk_checks(checked)
    write_tensors(folder / "rows" / segment.name, arrays, _facts(segment, n_features))
    return segment


def chunk_checks(rows: CompressedRows) -> np.ndarray:
    """CRC-32 of every chunk of `CHUNK_SAMPLES` rows: over its offsets, then its features, then its values."""
    found = []
    for first in range(0, rows.n_samples, CHUNK_SAMPLES):
        indptr = rows.indptr[first : first + CHUNK_SAMPLES + 1]
        within = slice(int(indptr[0]), int(indptr[-1]))
        found.append(crc_of(indptr, rows.features[within], rows.values[within]))
    return np.array(found, np.uint32)


def read_chunk(file: TensorFile, chunk: int) -> CompressedRows:
    """One chunk of a segment, checked; its offsets begin at 0. Raises BadDataError on another CRC-32."""
    n_samples = file.places["indptr"].shape[0] - 1
    first = chunk * CHUNK_SAMPLES
    indptr = file.read("indptr", first, min(first + CHUNK_SAMPLES, n_samples) + 1)
    start, stop = int(indptr[0]), int(indptr[-1])
    features, values = file.read("features", start, stop), file.read("values", start, stop)
    if crc_of(indptr, features, values) != int(file.read("chunk_crc32", chunk, chunk + 1)[0]):
        raise BadDataError(
            f"{file.path} holds other samples {first} to {first + len(indptr) - 2} than were written",
            expected="the CRC-32 stored with them",
            todo="the file was damaged: delete the folder of the store and build it again",
        )
    return CompressedRows(indptr - start, features, values)


def write_run(folder: Path, segment: Segment, rows: CompressedRows, n_features: int) -> None:
    """Publish the feature-major run of a segment."""
    indptr, samples, values = transpose(rows, n_features)
    samples += np.uint32(segment.first)
    arrays = {"indptr": indptr, "samples": samples, "values": values}
    write_tensors(folder / "runs" / segment.name, arrays, _facts(segment, n_features))


def transpose(rows: CompressedRows, n_features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counting sort by feature: (indptr int64 [n_features + 1], local samples uint32, values), samples ascending."""
    matrix = _matrix(rows, n_features).tocsc()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.uint32), matrix.data


def read_rows(folder: Path, segment: Segment) -> CompressedRows:
    """The rows of a segment, checksum checked. Raises BadDataError."""
    arrays, _ = read_tensors(folder / "rows" / segment.name)
    return CompressedRows(arrays["indptr"], arrays["features"], arrays["values"])


def find_segments(folder: Path, n_features: int) -> list[Segment]:
    """The published segments, whole and in order, each checked against its checksum (one read of all bytes).

    Raises:
        BadDataError: a damaged segment, one for another number of features, or a gap between two.
    """
    found: list[Segment] = []
    for path in sorted((folder / "rows").glob("[0-9]*.safetensors")):
        arrays, facts = read_tensors(path)
        n_values = len(arrays.get("values", ()))
        segment = Segment(int(facts.get("first", -1)), int(facts.get("end", -1)), n_values)
        if "chunk_crc32" not in arrays or facts.get("n_features") != n_features or path.name != segment.name:
            raise BadDataError(
                f"{path} says it holds samples {segment.first} to {segment.end} of {facts.get('n_features')} features",
                expected=f"the samples in its name and {n_features} features",
                todo="delete the folder of the store and build it again",
            )
        if segment.first != (found[-1].end if found else 0):
            raise BadDataError(
                f"segment {path.name} begins at sample {segment.first}",
                expected=f"sample {found[-1].end if found else 0}, where the one before it ends",
                todo="delete the folder of the store and build it again",
            )
        found.append(segment)
    return found


def _facts(segment: Segment, n_features: int) -> dict[str, int]:
    return {"first": segment.first, "end": segment.end, "n_features": n_features}


def _matrix(rows: CompressedRows, n_features: int) -> sparse.csr_array:
    # scipy's C++ kernels work on 32-bit indices; a segment never holds 2**31 entries
    indices, indptr = rows.features.astype(np.int32), rows.indptr.astype(np.int32)
    return sparse.csr_array((rows.values, indices, indptr), shape=(rows.n_samples, n_features))


def _row_of(rows: CompressedRows, entry: int) -> int:
    return int(np.searchsorted(rows.indptr, entry, side="right")) - 1


def _check_shape(rows: CompressedRows, n_features: int, first_sample: int) -> None:
    if first_sample + rows.n_samples > N_SAMPLES_MAX:
        raise UsageError(
            f"samples up to {first_sample + rows.n_samples:,}",
            expected=f"at most {N_SAMPLES_MAX:,}: sample ids are 32-bit in the flat codec",
            todo="split the corpus over several stores",
        )
    n = len(rows.values)
    fits = rows.n_samples >= 1 and rows.indptr[0] == 0 and rows.indptr[-1] == n == len(rows.features) < 2**31
    if not fits or (np.diff(rows.indptr) < 0).any():
        raise BadDataError(
            f"rows from sample {first_sample} on have {len(rows.features)} features, {n} values and offsets to "
            f"{rows.indptr[-1] if len(rows.indptr) else 'nowhere'}",
            expected="ascending offsets from 0 to the number of entries, below 2**31, and at least one sample",
            todo="check what the encoder gave",
        )
    if n and (int(rows.features.min()) < 0 or int(rows.features.max()) >= n_features):
        raise BadDataError(
            f"rows from sample {first_sample} on name features {rows.features.min()} to {rows.features.max()}",
            expected=f"ids in 0..{n_features - 1}",
            todo="build the store for the dictionary that made these codes",
        )
