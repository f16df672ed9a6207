"""The rows that a sweep edits: each by itself, and where its values stand in the whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models.batch import DECODER_IDS, Batch

__all__ = ["BaseRow", "base_rows", "written_side"]


@dataclass(frozen=True, eq=False)
class BaseRow:
    """One row of a batch.

    Args:
        index: the row of the batch.
        columns: the columns of the batch that this row runs on: its real tokens where the past is reused, else all.
        batch: the row alone, on those columns.
    """

    index: int
    columns: Int[Tensor, "pos"]
    batch: Batch

    @property
    def n_tokens(self) -> int:
        """Number of positions that the row runs on."""
        return len(self.columns)

    def place_of(self, columns: Int[Tensor, "batch"]) -> int:
        """Of the columns, one a row of the batch, this row's: its place among the positions that the row runs on."""
        return int((self.columns == columns[self.index]).nonzero()[0])

    def put(self, site: LayerComponent, frame: Tensor, value: Tensor, start: int) -> None:
        """Write one row's value (positions `start` on) into its places in a value of the whole batch's shape."""
        target = frame[self.index]
        if target.shape == value.shape:
            target.copy_(value)
        else:
            target[self._places(site, value, start)] = value

    def take(self, site: LayerComponent, frame: Tensor, like: Tensor, start: int) -> Tensor:
        """The row's part of a value of the whole batch's shape, in the shape of `like`."""
        source = frame[self.index]
        return source if source.shape == like.shape else source[self._places(site, like, start)]

    def frame_like(self, site: LayerComponent, value: Tensor, batch: Batch) -> Tensor:
        """Zeros in the shape that a value [1 ...] of this row has in the whole batch."""
        shape, width = list(value.shape), batch.input_ids.shape[1]
        shape[0] = batch.n_rows
        for axis in (-2, -1) if site.kind.endswith("pattern") else (1,):
            if value.ndim > 2 and shape[axis] == self.n_tokens:
                shape[axis] = width
        return value.new_zeros(shape)

    def _places(self, site: LayerComponent, value: Tensor, start: int) -> tuple[Any, ...]:
        columns = self.columns[start:]
        if not site.kind.endswith("pattern"):
            # latent attention makes the keys and values of the past anew: there all positions are seen
            return (self.columns if value.shape[0] == self.n_tokens else columns,)
        return (..., columns.unsqueeze(-1), self.columns if value.shape[-1] == self.n_tokens else columns)


def base_rows(batch: Batch, *, reuses_past: bool) -> list[BaseRow]:
    """The rows of a batch; without their padding where the past is reused."""
    mask = written_side(batch).attention_mask
    every = torch.arange(mask.shape[1], device=mask.device)
    rows = []
    for index in range(batch.n_rows):
        columns = every[mask[index].bool()] if reuses_past else every
        one = slice(index, index + 1)
        alone = Batch(
            batch.input_ids[one, columns] if reuses_past else batch.input_ids[one],
            batch.attention_mask[one, columns] if reuses_past else batch.attention_mask[one],
            {name: value[one] for name, value in batch.extra.items()},
        )
        rows.append(BaseRow(index, columns, alone))
    return rows


def written_side(batch: Batch) -> Batch:
    """The tokens of the stack that makes the logits: of an encoder-decoder, the decoder's."""
    return batch.decoder if DECODER_IDS in batch.extra else batch
