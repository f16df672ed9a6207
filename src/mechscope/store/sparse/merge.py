"""The merge: many feature-major runs become a few feature-major files, in bounded memory, with statistics.

1. Add up the entries of every feature over all runs.
2. Cut the features into files of about `file_nonzeros` entries, and each file into blocks of `block_nonzeros`.
3. For a block, read its contiguous piece of every run, in order of samples, and sort by feature with one stable
   counting sort: samples stay ascending within a feature.
4. Write the block to its place in the file; measure each feature on the way.

A file counts once its statistics file is published, which carries the file's checksum: the merge resumes at the next.
Memory: one block (about 40 bytes an entry), or the densest single feature when that is larger.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from scipy import sparse

from mechscope.core import BadDataError, Progress, digest_file
from mechscope.store.atomic import atomic_path, require_room
from mechscope.store.sparse.segments import Segment
from mechscope.store.sparse.spec import StoreSpec
from mechscope.store.sparse.statistics import FeatureTable
from mechscope.store.sparse.tensors import TensorFile, TensorFileWriter, read_tensors, write_tensors

__all__ = ["cut_ranges", "file_name", "merge_runs"]

FILE_FEATURES_MAX = 16_384
BLOCK_FEATURES_MAX = 4096  # the band draws take about 8 kB a feature while a block is measured
OPEN_RUNS_MAX = 256
U32: np.dtype = np.dtype("<u4")
F32: np.dtype = np.dtype("<f4")
I64: np.dtype = np.dtype("<i8")


class Runs:
    """The runs of all segments; kept open when they are few enough for the process' limit on open files."""

    def __init__(self, folder: Path, segments: list[Segment], stack: ExitStack) -> None:
        self._paths = [folder / "runs" / segment.name for segment in segments]
        self._open = [stack.enter_context(TensorFile(p)) for p in self._paths] if len(segments) <= OPEN_RUNS_MAX else []

    def counts(self, n_features: int) -> np.ndarray:
        """Entries of every feature over all runs, int64 [n_features]."""
        total = np.zeros(n_features, np.int64)
        for run in self:
            total += np.diff(run.read("indptr"))
        return total

    def __iter__(self) -> Iterator[TensorFile]:
        if self._open:
            yield from self._open
            return
        for path in self._paths:
            with TensorFile(path) as run:
                yield run


def merge_runs(
    folder: Path, segments: list[Segment], n_features: int, *, spec: StoreSpec, progress: Progress
) -> list[tuple[int, int]]:
    """Merge the runs under `folder` into `features/` and `statistics/`; returns the feature range of every file."""
    with ExitStack() as stack:
        runs = Runs(folder, segments, stack)
        counts = runs.counts(n_features)
        ranges = cut_ranges(counts, spec.file_nonzeros, FILE_FEATURES_MAX)
        task = stack.enter_context(progress.task("merge features", total=int(counts.sum()), unit="entries"))
        for first, end in ranges:
            if not _is_done(folder, first, end):
                require_room(folder, int(counts[first:end].sum()) * 8, what="a feature-major file")
                _write_file(folder, runs, counts[first:end], first, spec)
            task.advance(int(counts[first:end].sum()))
    return ranges


def cut_ranges(counts: np.ndarray, budget: int, n_features_max: int) -> list[tuple[int, int]]:
    """Consecutive feature ranges with at most `budget` entries each, unless one feature alone holds more."""
    ends = np.cumsum(counts)
    ranges, first = [], 0
    while first < len(counts):
        base = int(ends[first - 1]) if first else 0
        end = int(np.searchsorted(ends, base + budget, side="right"))
        end = min(max(end, first + 1), first + n_features_max, len(counts))
        ranges.append((first, end))
        first = end
    return ranges


def file_name(first: int, end: int) -> str:
    """Name of the file that holds the features `first` to `end` (excluded)."""
    return f"{first:09d}-{end:09d}.safetensors"


def _is_done(folder: Path, first: int, end: int) -> bool:
    statistics = folder / "statistics" / file_name(first, end)
    if not statistics.is_file():
        return False
    _, facts = read_tensors(statistics)
    features = folder / "features" / file_name(first, end)
    if not features.is_file() or digest_file(features) != facts.get("features_sha256"):
        raise BadDataError(
            f"{features} is missing or damaged, though its merge was finished",
            expected=f"SHA-256 {str(facts.get('features_sha256'))[:12]}…",
            todo="delete the folder of the store and build it again",
        )
    return True


def _write_file(folder: Path, runs: Runs, counts: np.ndarray, first: int, spec: StoreSpec) -> None:
    end, nnz = first + len(counts), int(counts.sum())
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    table = FeatureTable.empty(len(counts), spec)
    path = folder / "features" / file_name(first, end)
    shapes = {"indptr": (I64, indptr.shape), "samples": (U32, (nnz,)), "values": (F32, (nnz,))}
    with (
        atomic_path(path) as temporary,
        TensorFileWriter(temporary, shapes, {"first_feature": first, "end_feature": end}) as writer,
    ):
        writer.write("indptr", indptr)
        for low, high in cut_ranges(counts, spec.block_nonzeros, BLOCK_FEATURES_MAX):
            samples, values = _merge_block(runs, first + low, first + high)
            writer.write("samples", samples, start=int(indptr[low]))
            writer.write("values", values, start=int(indptr[low]))
            table.measure(low, first + low, indptr[low : high + 1] - indptr[low], samples, values, spec)
    table.seal()
    facts = {"first_feature": first, "end_feature": end, "features_sha256": digest_file(path)}
    write_tensors(folder / "statistics" / path.name, table.arrays, facts)


def _merge_block(runs: Runs, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples and values of the features `first` to `end`, feature-major."""
    columns, packed, ends = [], [], [0]
    for run in runs:
        indptr = run.read("indptr", first, end + 1)
        entries = np.empty(int(indptr[-1] - indptr[0]), np.dtype([("sample", U32), ("value", F32)]))
        entries["sample"] = run.read("samples", int(indptr[0]), int(indptr[-1]))
        entries["value"] = run.read("values", int(indptr[0]), int(indptr[-1]))
        columns.append(np.repeat(np.arange(end - first, dtype=np.int32), np.diff(indptr)))
        packed.append(entries)
        ends.append(ends[-1] + len(entries))
    # A matrix with one row a run: its conversion to columns is a stable counting sort that carries 8 bytes an entry
    data = np.concatenate(packed).view(np.int64)
    matrix = sparse.csr_array((data, np.concatenate(columns), np.array(ends)), shape=(len(ends) - 1, end - first))
    merged = matrix.tocsc().data.view(packed[0].dtype)
    return np.ascontiguousarray(merged["sample"]), np.ascontiguousarray(merged["value"])
