"""Where training batches come from: a protocol that the activation cache and plain arrays satisfy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.activations import Shard
from mechscope.core import BadDataError, derive_seed, digest_bytes

__all__ = ["ArraySource", "OrderedSource", "SampleSource"]


class SampleSource(Protocol):
    """Samples of one site in shuffled batches, the same ones every time for equal (batch_size, seed, epoch)."""

    @property
    def d_in(self) -> int:
        """Width of a sample."""
        ...

    @property
    def n_samples(self) -> int:
        """Samples in one epoch."""
        ...

    @property
    def key(self) -> Mapping[str, Any]:
        """What the samples were made from, JSON types; equal keys mean equal samples."""
        ...

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, start_batch: int = 0
    ) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Float32 batches of one epoch from `start_batch` on; the last one may be shorter."""
        ...


@runtime_checkable
class OrderedSource(Protocol):
    """A source that can also be read in natural order, so that each sample is known by its number."""

    def shards(self) -> Iterator[Shard]:
        """All samples in natural order, some at a time."""
        ...


class ArraySource:
    """Samples held in memory, [n_samples d_in]; float32 batches are gathered by a permutation of each epoch.

    Raises BadDataError when the array is empty or not two-dimensional.
    """

    def __init__(self, samples: Float[Tensor, "..."]) -> None:
        if samples.ndim != 2 or not samples.shape[0] or not samples.shape[1]:
            raise BadDataError(
                f"samples of shape {tuple(samples.shape)}",
                expected="[n_samples, d_in] with at least one sample",
                todo="pass a matrix of activations, one sample a row",
            )
        self._samples = samples.detach().to(torch.float32).contiguous()
        self._key: dict[str, Any] | None = None

    @property
    def d_in(self) -> int:
        """Width of a sample."""
        return self._samples.shape[1]

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self._samples.shape[0]

    @property
    def key(self) -> Mapping[str, Any]:
        """Shape and SHA-256 of the samples, hashed at the first call."""
        if self._key is None:
            digest = digest_bytes(self._samples.cpu().numpy().tobytes())
            self._key = {"source": "array", "shape": list(self._samples.shape), "sha256": digest}
        return self._key

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, start_batch: int = 0
    ) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Batches of one epoch in an order drawn from (seed, epoch); the last one may be shorter."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "array order", epoch))
        order = torch.randperm(self.n_samples, generator=generator)
        for start in range(start_batch * batch_size, self.n_samples, batch_size):
            yield self._samples[order[start : start + batch_size]]

    def shards(self) -> Iterator[Shard]:
        """All samples in their own order, as one shard; each counts as a row of its own."""
        rows = np.arange(self.n_samples, dtype=np.int32)
        yield Shard(0, self._samples, rows, np.full(self.n_samples, -1, dtype=np.int32))
