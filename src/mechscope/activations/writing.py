"""One site's shards while they are being collected: buffered in place, shuffled, checked, written."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from mechscope.activations.planning import ShardRange
from mechscope.activations.selection import Selection
from mechscope.core import BadDataError, numpy_generator
from mechscope.corpora.corpus import Corpus
from mechscope.store.atomic import clear_temporaries
from mechscope.store.dense import TensorFile, write_tensors
from mechscope.store.locks import LOCK_NAME
from mechscope.store.manifests import FileEntry, file_entry

__all__ = ["SiteWriter", "stored_bytes"]


def stored_bytes(d_in: int, dtype: torch.dtype) -> int:
    """Bytes of one sample on disk: the vector, and three int32 beside it (place, row, pos)."""
    return d_in * dtype.itemsize + 12


@dataclass(frozen=True, eq=False)
class _Begun:
    """A shard in memory. `place[i]` is where its sample i (natural order) stands in `acts`."""

    shard: ShardRange
    acts: Shaped[Tensor, "n d_in"]
    place: np.ndarray


@dataclass
class SiteWriter:
    """Collects one site into one folder, shard by shard.

    A shard's buffer has its final, shuffled layout from the start: each vector is put straight to its place, so that
    neither sorting nor shuffling copies anything. Memory: one buffer of `shard_bytes` for the site.

    Attributes:
        site: the site in words, for errors.
        folder: the artifact folder, whose lock the caller holds.
        key_digest: digest of the folder's key; shards carry it.
        d_in: length of a vector. dtype: how it is stored. seed: of the shuffle.
        entries: file name -> size and checksum of the shards that stand.
    """

    site: str
    folder: Path
    key_digest: str
    corpus: Corpus
    selection: Selection
    shards: list[ShardRange]
    d_in: int
    dtype: torch.dtype
    seed: int
    entries: dict[str, FileEntry] = field(default_factory=dict)
    n_written: int = 0
    _begun: _Begun | None = None

    @property
    def missing_bytes(self) -> int:
        """Bytes of the shards that are not written yet."""
        n_missing = sum(shard.n_samples for shard in self.shards if shard.file_name not in self.entries)
        return n_missing * stored_bytes(self.d_in, self.dtype)

    def resume(self) -> None:
        """Take over the shards that an interrupted collection left.

        Raises:
            BadDataError: a file that is no part of this collection, or a shard that is damaged.
        """
        clear_temporaries(self.folder)
        known = {shard.file_name: shard for shard in self.shards}
        for path in sorted(self.folder.iterdir()):
            if path.name in {"key.json", LOCK_NAME}:
                continue
            if path.name not in known:
                raise BadDataError(
                    f"{path} does not belong to this collection",
                    expected="only key.json and the shards of this collection",
                    todo="move the file away, or collect under another root",
                )
            self._check_shard(path, known[path.name])
            self.entries[path.name] = file_entry(path)

    def wants(self, window: tuple[int, int]) -> bool:
        """Whether the shard that these rows belong to is still to be written."""
        return self._shard_at(window[0]).file_name not in self.entries

    def add(self, values: Tensor, rows: np.ndarray) -> None:
        """Take what was captured for a batch of rows. Raises BadDataError on NaN or infinity."""
        begun = self._begin(self._shard_at(int(rows[0])))
        vectors, samples = self.selection.gather(values, rows)
        if not len(samples):
            return
        stored = vectors.to(self.dtype).cpu()
        self._refuse_nonfinite(stored, samples)
        place = begun.place[samples - begun.shard.first_sample]
        begun.acts.index_copy_(0, torch.from_numpy(place.astype(np.int64)), stored)

    def end_window(self, window: tuple[int, int]) -> bool:
        """Write the shard when these were its last rows; returns whether it was written."""
        shard = self._shard_at(window[0])
        if window[1] != shard.end_row or shard.file_name in self.entries:
            return False
        self._write(self._begin(shard))
        return True

    def _shard_at(self, row: int) -> ShardRange:
        return self.shards[bisect_right(self.shards, row, key=lambda shard: shard.end_row)]

    def _begin(self, shard: ShardRange) -> _Begun:
        if self._begun is None or self._begun.shard is not shard:
            place = numpy_generator(self.seed, "shard", shard.index).permutation(shard.n_samples)
            self._begun = _Begun(shard, self._buffer[: shard.n_samples], place.astype(np.int32))
        return self._begun

    @cached_property
    def _buffer(self) -> Shaped[Tensor, "n d_in"]:
        return torch.empty(max(shard.n_samples for shard in self.shards), self.d_in, dtype=self.dtype)

    def _write(self, begun: _Begun) -> None:
        shard = begun.shard
        rows, positions = self.selection.rows_and_positions(self.corpus, shard.first_row, shard.end_row)
        columns = {"place": begun.place, "row": rows, "pos": positions}
        tensors = {"acts": begun.acts, **{name: torch.from_numpy(values) for name, values in columns.items()}}
        path = self.folder / shard.file_name
        self.entries[shard.file_name] = write_tensors(path, tensors, _metadata(self.key_digest, shard))
        self.n_written += 1
        self._begun = None

    def _check_shard(self, path: Path, shard: ShardRange) -> None:
        file = TensorFile.open(path)
        told = {name: file.metadata.get(name) for name in _metadata(self.key_digest, shard)}
        if told != _metadata(self.key_digest, shard) or file.slot("acts").shape != (shard.n_samples, self.d_in):
            raise BadDataError(
                f"{path} is a shard of another collection ({told})",
                expected=f"key {self.key_digest[:16]}, rows {shard.first_row} to {shard.end_row}",
                todo="move the file away and run the same command again",
            )
        if not file.payload_is_intact():
            raise BadDataError(
                f"{path} does not match its own checksum",
                expected="an undamaged shard",
                todo="delete that file and run the same command again: only this shard is collected anew",
            )

    def _refuse_nonfinite(self, stored: Shaped[Tensor, "n d_in"], samples: np.ndarray) -> None:
        # a finite sum proves all finite in one cheap pass; large finite values may overflow it, so look closer then
        if torch.isfinite(stored.sum(dtype=torch.float32)):
            return
        bad = ~torch.isfinite(stored).all(dim=1)
        if not bool(bad.any()):
            return
        sample = int(samples[bad.numpy()].min())
        row = int(np.searchsorted(self.selection.first_sample, sample, side="right")) - 1
        _, positions = self.selection.rows_and_positions(self.corpus, row, row + 1)
        position = int(positions[sample - int(self.selection.first_sample[row])])
        where = f"position {position}" if position >= 0 else "the vector of the whole row"
        raise BadDataError(
            f"site {self.site!r} gives NaN or infinity in row {row}, {where} ({int(bad.sum())} vectors of this batch)",
            expected="finite activations",
            todo="check the model's weights and dtype on that row; nothing was published",
        )


def _metadata(key_digest: str, shard: ShardRange) -> dict[str, str]:
    return {
        "key_digest": key_digest,
        "first_row": str(shard.first_row),
        "end_row": str(shard.end_row),
        "first_sample": str(shard.first_sample),
    }
