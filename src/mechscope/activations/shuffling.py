"""Shuffled batches out of shards that were shuffled when they were written.

    chunk     about 512 KB of consecutive vectors of one shard; one read
    epoch     all chunks of all shards in random order, each shard's spread evenly, cut into pools of at most 64
    pool      its chunks are read into one preallocated buffer, and leave it in random order

A shard's samples were shuffled over the whole shard, so a chunk is already a random draw from it; the pools mix draws
from many shards. A plain permutation of chunks would give all batches of a pool the same chance excess of some shards
(a variance of batch_size / 64 times that of single draws); spreading takes it away. Everything follows from (seed,
epoch): batch n can be the first one read, at the cost of its pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.activations.parts import Part
from mechscope.core import UsageError, numpy_generator

__all__ = ["CHUNK_BYTES", "POOL_CHUNKS", "ShuffledReader"]

CHUNK_BYTES = 512 << 10
POOL_CHUNKS = 64


@dataclass(frozen=True)
class _Chunk:
    part: Part
    low: int
    high: int

    @property
    def n_samples(self) -> int:
        return self.high - self.low


class ShuffledReader(Iterator[Float[Tensor, "batch d_in"]]):
    """One epoch of shuffled float32 batches; each sample comes exactly once.

    Memory: one pool (64 chunks, about 32 MB) and the batch. Each batch is a fresh tensor.

    Args:
        parts: what to read. d_in, dtype: of the vectors as stored.
        batch_size: samples a batch; the last one may be shorter unless `drop_last`.
        seed, epoch: what the order follows from.
        start_batch: number of the first batch to give.
        drop_last: leave out a last batch that is shorter than `batch_size` (fewer than `batch_size` samples are then
            not seen in this epoch; which ones changes with the epoch).

    Raises:
        UsageError: a batch size below 1, or a start outside of the epoch.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        d_in: int,
        dtype: torch.dtype,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        start_batch: int = 0,
        drop_last: bool = False,
        chunk_bytes: int = CHUNK_BYTES,
        pool_chunks: int = POOL_CHUNKS,
    ) -> None:
        n_samples, size = sum(part.n_samples for part in parts), max(batch_size, 1)
        self.n_batches = n_samples // size if drop_last else -(-n_samples // size)
        if batch_size < 1 or not 0 <= start_batch <= self.n_batches:
            raise UsageError(
                f"batch_size {batch_size} with start_batch {start_batch}",
                expected=f"a batch size of 1 or more and a start in 0..{self.n_batches}",
                todo="correct the value",
            )
        self.next_batch = start_batch
        self.batch_size = batch_size
        self._names = (seed, epoch)
        generator = numpy_generator(seed, "chunks", epoch)
        chunks = _spread_chunks(parts, max(1, chunk_bytes // (d_in * dtype.itemsize)), generator)
        pools = np.array_split(np.arange(len(chunks)), -(-len(chunks) // pool_chunks))
        self._pools = [[chunks[i] for i in pool] for pool in pools]
        sizes = [sum(chunk.n_samples for chunk in pool) for pool in self._pools]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._buffer = torch.empty(max(sizes, default=0), d_in, dtype=dtype)
        self._loaded = -1
        self._order = torch.zeros(0, dtype=torch.int64)

    def __len__(self) -> int:
        """Batches still to come."""
        return self.n_batches - self.next_batch

    def __iter__(self) -> ShuffledReader:
        return self

    def __next__(self) -> Float[Tensor, "batch d_in"]:
        if self.next_batch >= self.n_batches:
            raise StopIteration
        first = self.next_batch * self.batch_size
        last = min(first + self.batch_size, int(self._starts[-1]))
        pieces = []
        while first < last:
            pool = int(np.searchsorted(self._starts, first, side="right")) - 1
            self._load(pool)
            start, end = int(self._starts[pool]), min(last, int(self._starts[pool + 1]))
            picked = self._buffer.index_select(0, self._order[first - start : end - start])
            pieces.append(picked.float())
            first = end
        self.next_batch += 1
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _load(self, pool: int) -> None:
        if pool == self._loaded:
            return
        at = 0
        for chunk in self._pools[pool]:
            chunk.part.read_places(chunk.low, chunk.high, self._buffer[at : at + chunk.n_samples])
            at += chunk.n_samples
        seed, epoch = self._names
        self._order = torch.from_numpy(numpy_generator(seed, "pool", epoch, pool).permutation(at))
        self._loaded = pool


def _spread_chunks(parts: Sequence[Part], chunk_rows: int, generator: np.random.Generator) -> list[_Chunk]:
    """All chunks: those of one part in random order, at even distances over the epoch from a random start."""
    chunks, at = [], []
    for part in parts:
        lows = generator.permutation(np.arange(0, part.n_samples, chunk_rows)).tolist()
        chunks += [_Chunk(part, low, min(low + chunk_rows, part.n_samples)) for low in lows]
        at.append((np.arange(len(lows)) + generator.random()) / len(lows))
    return [chunks[i] for i in np.argsort(np.concatenate(at), kind="stable")]
