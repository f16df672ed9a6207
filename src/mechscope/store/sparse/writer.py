"""The writer: segments in, one published store out; killed at any moment, it goes on at the next segment."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Self

from mechscope.core import SILENT, BadDataError, ConflictError, InternalError, Progress, digest_of, short
from mechscope.store.atomic import clear_temporaries, read_json, write_bytes, write_json
from mechscope.store.locks import folder_lock
from mechscope.store.manifests import file_entry, is_complete, publish, read_manifest
from mechscope.store.sparse.merge import file_name, merge_runs
from mechscope.store.sparse.segments import CompressedRows, Segment, find_segments, read_rows, write_run, write_segment
from mechscope.store.sparse.spec import StoreSpec
from mechscope.store.sparse.tensors import TensorFile

__all__ = ["FORMAT", "KIND", "FeatureStoreWriter", "current_generation"]

KIND = "feature-store"
FORMAT = 2
CURRENT = "CURRENT"


class FeatureStoreWriter:
    """Builds a feature store segment by segment. Use as a context manager: it holds the folder's lock.

        <folder>/CURRENT                 name of the generation that readers open; moved last
        <folder>/g-<digest of the key>/  rows/ features/ statistics/ key.json manifest.json, and extra files

    Args:
        folder: folder of the store.
        key: what the store is made from, as JSON types (digests of dictionary, activations, corpus ...).
        n_features: features of the dictionary.
        spec: build options; they are part of the key.
        on_wait: called once before waiting for another process that builds in this folder; without it, such a process
            is a ConflictError.

    Raises:
        ConflictError: another process is building in this folder and `on_wait` is None, or the disk is full.
        BadDataError: a segment left by an earlier run is damaged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: dict[str, Any],
        n_features: int,
        spec: StoreSpec | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        self.spec = StoreSpec() if spec is None else spec
        self.n_features = n_features
        self.key = {**key, "store": self.spec.to_json(), "n_features": n_features, "store_format": FORMAT}
        self.folder = folder
        self.path = folder / f"g-{short(digest_of(self.key))}"
        self.segments: list[Segment] = []
        self._on_wait = partial(_refuse, folder) if on_wait is None else on_wait
        self._lock = ExitStack()
        self._is_locked = False

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as lock:
            lock.enter_context(folder_lock(self.folder, on_wait=self._on_wait))
            self._recover()
            self._lock = lock.pop_all()
        self._is_locked = True
        return self

    def _recover(self) -> None:
        for name in ("rows", "runs", "features", "statistics", "."):
            clear_temporaries(self.path / name)
        if not is_complete(self.path):
            write_json(self.path / "key.json", self.key)
        self.segments = find_segments(self.path, self.n_features)

    def __exit__(self, *_: object) -> None:
        self._is_locked = False
        self._lock.close()

    @property
    def next_sample(self) -> int:
        """The first sample that is not stored yet: where an interrupted build goes on."""
        return self.segments[-1].end if self.segments else 0

    @property
    def is_finished(self) -> bool:
        """Whether this key's generation is published and current."""
        return (
            is_complete(self.path)
            and (self.folder / CURRENT).is_file()
            and current_generation(self.folder) == self.path
        )

    def add(self, first_sample: int, rows: CompressedRows) -> Segment:
        """Publish the samples from `first_sample` on as one segment. Raises BadDataError (see `write_segment`)."""
        if first_sample != self.next_sample or not self._is_locked:
            raise InternalError(f"segment at sample {first_sample} where {self.next_sample} is next")
        segment = write_segment(self.path, first_sample, rows, self.n_features)
        self.segments.append(segment)
        return segment

    def finish(
        self,
        *,
        n_samples: int,
        facts: dict[str, Any] | None = None,
        extras: tuple[str, ...] = (),
        progress: Progress = SILENT,
    ) -> None:
        """Merge, write the manifest, move `CURRENT`, and drop the runs.

        Args:
            n_samples: how many samples there must be; BadDataError when the segments hold another number.
            facts: JSON types added to the manifest; nothing that differs between two equal builds (no times).
            extras: names of further files in `path` that belong to the store.
        """
        if self.next_sample != n_samples or n_samples == 0:
            raise BadDataError(
                f"the segments hold {self.next_sample:,} samples",
                expected=f"{n_samples:,}, and at least one",
                todo="run the build again; when it repeats, the activations changed under it: collect them again",
            )
        if not is_complete(self.path):
            self._publish(facts or {}, extras, progress)
        read_manifest(self.path, kind=KIND)
        write_bytes(self.folder / CURRENT, f"{self.path.name}\n".encode())
        shutil.rmtree(self.path / "runs", ignore_errors=True)

    def _publish(self, facts: dict[str, Any], extras: tuple[str, ...], progress: Progress) -> None:
        self._restore_runs()
        ranges = merge_runs(self.path, self.segments, self.n_features, spec=self.spec, progress=progress)
        names = [f"rows/{segment.name}" for segment in self.segments]
        names += [f"{kind}/{file_name(*pair)}" for pair in ranges for kind in ("features", "statistics")]
        held = {
            **facts,
            "store_format": FORMAT,
            "codec": self.spec.codec,
            "n_samples": self.next_sample,
            "n_features": self.n_features,
            "nnz": sum(segment.nnz for segment in self.segments),
            "segments": [[segment.first, segment.end, segment.nnz] for segment in self.segments],
            "ranges": [list(pair) for pair in ranges],
            "spec": self.spec.to_json(),
        }
        files = {name: file_entry(self.path / name) for name in [*names, *extras]}
        publish(self.path, kind=KIND, key=self.key, files=files, facts={**held, "digest": digest_of(held)})

    def _restore_runs(self) -> None:
        for segment in self.segments:
            if not _is_whole(self.path / "runs" / segment.name):
                write_run(self.path, segment, read_rows(self.path, segment), self.n_features)


def current_generation(folder: Path) -> Path:
    """The generation that `CURRENT` names. Raises BadDataError when there is none."""
    pointer = folder / CURRENT
    name = pointer.read_bytes().decode("ascii", "replace").strip() if pointer.is_file() else ""
    if re.fullmatch(r"g-[0-9a-f]+", name) is None:
        raise BadDataError(
            f"{folder} has no finished feature store" + (f": CURRENT holds {name!r}" if name else ""),
            expected="a file CURRENT that names a generation",
            todo="run the build again: it goes on where it stopped",
        )
    return folder / name


def stored_key(folder: Path) -> dict[str, Any]:
    """The key of the current generation, in clear."""
    key: dict[str, Any] = read_json(current_generation(folder) / "key.json")
    return key


def _is_whole(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        TensorFile(path).close()
    except BadDataError:
        return False
    return True


def _refuse(folder: Path) -> NoReturn:
    raise ConflictError(
        f"another process is building a feature store in {folder}",
        expected="one builder at a time",
        todo="wait for it to finish, or build into another folder",
    )
