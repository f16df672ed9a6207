"""One shard as a reader sees it: some or all of its samples, checked against the manifest when first touched."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from mechscope.activations.planning import ShardRange
from mechscope.core import BadDataError, digest_file
from mechscope.store.dense import TensorFile

__all__ = ["Part", "ShardFile"]


@dataclass
class ShardFile:
    """A shard's file, opened and checked once, shared by all views of a cache."""

    path: Path
    sha256: str
    shard: ShardRange
    d_in: int
    check: bool
    _open: TensorFile | None = field(default=None, repr=False)

    def open(self) -> TensorFile:
        """The file. Raises BadDataError when its checksum or shape is not what the manifest says."""
        if self._open is None:
            file = TensorFile.open(self.path)
            if file.slot("acts").shape != (self.shard.n_samples, self.d_in):
                raise self._damaged(f"holds {file.slot('acts').shape}", f"{(self.shard.n_samples, self.d_in)}")
            if self.check and (seen := digest_file(self.path)) != self.sha256:
                raise self._damaged(f"has checksum {seen[:12]}…", f"{self.sha256[:12]}… as its manifest says")
            self._open = file
        return self._open

    def _damaged(self, seen: str, expected: str) -> BadDataError:
        return BadDataError(
            f"{self.path} {seen}",
            expected=expected,
            todo="the file was damaged or replaced: delete its folder and collect again",
        )


@dataclass(frozen=True)
class Part:
    """The samples of one shard that a cache shows.

    Attributes:
        file: the shard's file.
        first_sample: number of the part's first sample in the cache that shows it.
        n_samples: how many it shows.
        kept: which of the shard's samples those are, in natural order, int32 [n_samples]; None for all of them.
    """

    file: ShardFile
    first_sample: int
    n_samples: int
    kept: np.ndarray | None = None

    def column(self, name: str) -> np.ndarray:
        """`row`, `pos` or `place` (where it is stored) of each shown sample, natural order, int32 [n_samples]."""
        values: np.ndarray = self.file.open().read(name).numpy()
        return values if self.kept is None else values[self.kept]

    @property
    def sample_ids(self) -> np.ndarray:
        """Numbers of the shown samples in the whole cache, int64 [n_samples]."""
        kept = np.arange(self.n_samples) if self.kept is None else self.kept.astype(np.int64)
        return self.file.shard.first_sample + kept

    @cached_property
    def stored(self) -> np.ndarray:
        """Places of the shown samples, ascending: the order of a sequential read."""
        return np.arange(self.n_samples) if self.kept is None else np.sort(self.column("place"))

    def read_places(self, low: int, high: int, out: Shaped[Tensor, "n d_in"]) -> None:
        """Fill `out` in place with the vectors at `stored[low:high]`."""
        if self.kept is None:
            self.file.open().read_rows("acts", low, out)
        else:
            self.file.open().gather("acts", self.stored[low:high], out)

    def read_samples(self, local: np.ndarray) -> Shaped[Tensor, "n d_in"]:
        """The vectors of the part's samples with these numbers (from 0, any order), as stored."""
        file = self.file.open()
        places, inverse = np.unique(self.column("place")[local], return_inverse=True)
        slot = file.slot("acts")
        out = torch.empty(len(places), *slot.shape[1:], dtype=slot.dtype)
        file.gather("acts", places, out)
        return out[torch.from_numpy(inverse)]
