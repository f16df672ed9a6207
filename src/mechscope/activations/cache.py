"""The dense cache of one site: read in natural order, by sample, or shuffled for training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.activations.parts import Part, ShardFile
from mechscope.activations.planning import DTYPES, ShardRange
from mechscope.activations.shuffling import ShuffledReader
from mechscope.core import BadDataError, UsageError, digest_bytes, digest_of
from mechscope.store.atomic import read_json
from mechscope.store.manifests import read_manifest

__all__ = ["CACHE_KIND", "ActivationCache", "Shard"]

CACHE_KIND = "activations"


@dataclass(frozen=True, eq=False)
class Shard:
    """Consecutive samples in natural order.

    Attributes:
        first_sample: number of the first one in its cache.
        acts: float32 [n d_in], on the CPU.
        row: corpus row of each, int32 [n]. pos: its position in that row, -1 for a pooled or mean vector, int32 [n].
    """

    first_sample: int
    acts: Float[Tensor, "n d_in"]
    row: np.ndarray
    pos: np.ndarray


@dataclass(frozen=True, eq=False)
class ActivationCache:
    """A finished cache, or a view of some of its samples; made by `open`, `collect` and `restricted`.

    Samples are numbered from 0 in natural (corpus) order; a view numbers its own from 0 again, and `sample_ids` says
    which of the whole cache those are. Every shard's checksum is verified when it is first read.

    Attributes:
        folder: where it lies. key: what it was made from. key_digest: names exactly these samples of these values.
        site: the site in words. d_in: length of a vector. n_rows: rows of the corpus. facts: the manifest's facts.
    """

    folder: Path
    key: dict[str, Any]
    key_digest: str
    site: str
    d_in: int
    dtype: torch.dtype
    n_rows: int
    facts: dict[str, Any]
    parts: tuple[Part, ...]

    @classmethod
    def open(cls, folder: Path, *, check: bool = True) -> ActivationCache:
        """Open a finished cache; reads the manifest only.

        Args:
            check: verify each shard's SHA-256 when it is first read (about 0.7 s a GB, once for this object).

        Raises:
            BadDataError: an unfinished folder, another kind of artifact, or a file that is missing or has another size.
        """
        manifest = read_manifest(folder, kind=CACHE_KIND)
        facts, parts = manifest.facts, []
        for shard in (ShardRange.parse(value, where=str(folder / "manifest.json")) for value in facts["shards"]):
            if shard.file_name not in manifest.files:
                raise BadDataError(
                    f"the manifest of {folder} does not list {shard.file_name}",
                    expected="every shard among its files",
                    todo="delete the folder and collect again",
                )
            entry = manifest.files[shard.file_name]
            file = ShardFile(folder / shard.file_name, entry.sha256, shard, facts["d_in"], check)
            parts.append(Part(file, shard.first_sample, shard.n_samples))
        return cls(
            folder=folder,
            key=read_json(folder / "key.json"),
            key_digest=manifest.key_digest,
            site=facts["site"],
            d_in=facts["d_in"],
            dtype=DTYPES[facts["dtype"]],
            n_rows=facts["n_rows"],
            facts=facts,
            parts=tuple(parts),
        )

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return sum(part.n_samples for part in self.parts)

    def shards(self) -> Iterator[Shard]:
        """All samples in natural order, a shard at a time. Memory: two copies of a shard, one of them float32."""
        for part in self.parts:
            acts = part.read_samples(np.arange(part.n_samples)).float()
            yield Shard(part.first_sample, acts, part.column("row"), part.column("pos"))

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, start_batch: int = 0, drop_last: bool = False
    ) -> ShuffledReader:
        """One epoch of shuffled float32 batches, from batch `start_batch` on; see `ShuffledReader`.

        The last batch may be shorter than `batch_size`, unless `drop_last`.
        """
        return ShuffledReader(
            self.parts,
            self.d_in,
            self.dtype,
            batch_size,
            seed=seed,
            epoch=epoch,
            start_batch=start_batch,
            drop_last=drop_last,
        )

    def read(self, samples: np.ndarray) -> Float[Tensor, "n d_in"]:
        """The vectors of the given samples, in the given order (repeats allowed), float32.

        Cost: one read a run of near samples, after the index of each shard that is touched (4 bytes a sample).
        Raises UsageError for a number outside of 0..n_samples - 1.
        """
        samples = np.asarray(samples, dtype=np.int64)
        if len(samples) and not 0 <= samples.min() <= samples.max() < self.n_samples:
            raise UsageError(
                f"samples from {samples.min()} to {samples.max()}",
                expected=f"numbers in 0..{self.n_samples - 1}",
                todo="take them from this cache, not from the whole cache or a view of it",
            )
        out = torch.empty(len(samples), self.d_in)
        starts = np.array([part.first_sample for part in self.parts])
        owner = np.searchsorted(starts, samples, side="right") - 1
        for index in np.unique(owner):
            at = np.flatnonzero(owner == index)
            part = self.parts[index]
            out[torch.from_numpy(at)] = part.read_samples(samples[at] - part.first_sample).float()
        return out

    def sample_rows(self) -> np.ndarray:
        """Corpus row of each sample, int32 [n_samples]."""
        return np.concatenate([part.column("row") for part in self.parts])

    def sample_positions(self) -> np.ndarray:
        """Position of each sample in its row, -1 for pooled and mean vectors, int32 [n_samples]."""
        return np.concatenate([part.column("pos") for part in self.parts])

    def sample_ids(self) -> np.ndarray:
        """Number of each sample in the whole cache, int64 [n_samples]: 0, 1, 2 ... unless this is a view."""
        return np.concatenate([part.sample_ids for part in self.parts])

    def restricted(self, row_mask: np.ndarray) -> ActivationCache:
        """The samples of some corpus rows, as a cache of its own: for training on one split and measuring on another.

        Memory: 12 bytes a sample kept. Nothing is copied on disk.

        Args:
            row_mask: which rows, boolean [n_rows], for example `corpus.column("split") == "train"`.

        Raises:
            UsageError: a mask of another length or type.
            BadDataError: no sample is left.
        """
        mask = np.asarray(row_mask)
        if mask.dtype != bool or mask.shape != (self.n_rows,):
            raise UsageError(
                f"a row mask of {mask.dtype} with shape {mask.shape}",
                expected=f"booleans, one for each of the {self.n_rows} rows",
                todo="make it from a row column of the same corpus",
            )
        parts, first = [], 0
        for part in self.parts:
            chosen = np.flatnonzero(mask[part.column("row")])
            kept = chosen.astype(np.int32) if part.kept is None else part.kept[chosen]
            if len(kept):
                parts.append(Part(part.file, first, len(kept), kept))
                first += len(kept)
        if not parts:
            raise BadDataError(
                f"no sample of {self.folder} lies in the {int(mask.sum())} rows asked for",
                expected="at least one",
                todo="check the split",
            )
        chosen_rows = [*self.key.get("rows", []), digest_bytes(np.packbits(mask).tobytes())]
        key = {**self.key, "rows": chosen_rows}
        return replace(self, key=key, key_digest=digest_of(key), parts=tuple(parts))
