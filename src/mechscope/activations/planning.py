"""How a corpus is cut: into windows that are run as one, and windows into shards.

A window is a contiguous range of rows with about 8 batches' worth of tokens. Batches are formed inside a window, so
that a vector's last bits depend on the window alone, never on where a collection was interrupted or on what other
sites were asked for. A shard is a run of whole windows of about `shard_bytes`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from mechscope.activations.batching import WINDOW_BATCHES
from mechscope.activations.selection import Selection
from mechscope.core import Spec
from mechscope.corpora.corpus import Corpus

__all__ = ["DTYPES", "ShardRange", "cut_shards", "cut_windows"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class ShardRange(Spec):
    """One shard: rows [first_row, end_row) and their samples [first_sample, end_sample)."""

    index: int
    first_row: int
    end_row: int
    first_sample: int
    end_sample: int

    @property
    def n_samples(self) -> int:
        """Samples in the shard."""
        return self.end_sample - self.first_sample

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"part-{self.index:06d}.safetensors"


def cut_windows(corpus: Corpus, batch_tokens: int) -> list[tuple[int, int]]:
    """Row ranges [first, end) that cover the corpus, each of about 8 x `batch_tokens` tokens and at least one row."""
    before = corpus.tokens.indptr[:-1] - corpus.tokens.indptr[0]
    cuts = np.flatnonzero(np.diff(before // (WINDOW_BATCHES * batch_tokens))) + 1
    bounds = [0, *cuts.tolist(), corpus.n_rows]
    return list(pairwise(bounds))


def cut_shards(
    windows: list[tuple[int, int]], selection: Selection, *, sample_bytes: int, shard_bytes: int
) -> list[ShardRange]:
    """Runs of whole windows, each closed as soon as it holds `shard_bytes`; none without a sample."""
    bounds = [0]
    for _, end_row in windows:
        n_new = selection.first_sample[end_row] - selection.first_sample[bounds[-1]]
        if n_new * sample_bytes >= shard_bytes and n_new > 0:
            bounds.append(end_row)
    last_row = windows[-1][1]
    if len(bounds) > 1 and selection.first_sample[bounds[-1]] == selection.n_samples:
        bounds[-1] = last_row
    elif bounds[-1] != last_row:
        bounds.append(last_row)
    samples = selection.first_sample[bounds].tolist()
    return [
        ShardRange(index=i, first_row=rows[0], end_row=rows[1], first_sample=samples[i], end_sample=samples[i + 1])
        for i, rows in enumerate(pairwise(bounds))
    ]
