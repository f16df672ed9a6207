"""Where a lens reads: the positions of a batch at which logits are made from the stream.

causal and masked models    one reading a chosen position: stream[row, column] -> logits
models that pool by mean    one reading a row: the mean over the row's real tokens of the normed stream -> logits
models that pool by first   one reading a row: the first position's stream (a class token) -> logits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechscope.core import UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Positions

__all__ = ["PlaceChoice", "Places", "Pooling", "choose_places"]

PlaceChoice: TypeAlias = Positions | Literal["last", "all"]
Pooling: TypeAlias = Literal["mean", "first"]


@dataclass(frozen=True, eq=False)
class Places:
    """The tokens from which readings are made, row by row.

    Attributes:
        rows, columns: the row and column of each token [m]; columns count padding.
        pooling: how a row becomes one reading; None where each token is its own reading.
    """

    rows: Int[Tensor, "m"]
    columns: Int[Tensor, "m"]
    pooling: Pooling | None = None

    @property
    def n_readings(self) -> int:
        """How many logit vectors are made."""
        return len(self.rows) if self.pooling != "mean" else int(self.rows.max()) + 1

    @property
    def reading_rows(self) -> Int[Tensor, "n"]:
        """The row of each reading."""
        return self.rows if self.pooling is None else torch.arange(self.n_readings, device=self.rows.device)

    @property
    def reading_columns(self) -> Int[Tensor, "n"] | None:
        """The column of each reading; None in pooled models."""
        return self.columns if self.pooling is None else None

    def gather(self, stream: Float[Tensor, "batch pos *rest"]) -> Float[Tensor, "m *rest"]:
        """The stream's values at the tokens."""
        return stream[self.rows, self.columns]

    def gather_output(self, logits: Float[Tensor, "batch *pos d_vocab"]) -> Float[Tensor, "n d_vocab"]:
        """The model's own logits at the readings."""
        return logits[self.rows, self.columns] if self.pooling is None else logits

    def pool(self, values: Float[Tensor, "m *rest"]) -> Float[Tensor, "n *rest"]:
        """From tokens to readings: the mean of each row's tokens where the model takes it, else nothing to do."""
        if self.pooling != "mean":
            return values
        total = values.new_zeros(self.n_readings, *values.shape[1:]).index_add(0, self.rows, values)
        sizes = torch.bincount(self.rows).to(values.dtype)
        return total / sizes.reshape(-1, *[1] * (values.ndim - 1))

    def spread(self, values: Float[Tensor, "n *rest"]) -> Float[Tensor, "m *rest"]:
        """From readings to tokens: each token gets its reading's value."""
        return values[self.rows] if self.pooling == "mean" else values

    def subset(self, chosen: slice | Int[Tensor, "k"]) -> Places:
        """Some of the tokens; for models that do not pool."""
        return Places(self.rows[chosen], self.columns[chosen])


def choose_places(batch: Batch, at: PlaceChoice, *, shape: tuple[int, int], pooling: Pooling | None = None) -> Places:
    """The places of a batch.

    Args:
        batch: the rows as the stream that makes the logits has them (of an encoder-decoder `batch.decoder`).
        at: "last" (the last real token of each row), "all" (every real token) or positions as edits take them.
        shape: [batch pos] of the stream. A stream of other positions than the batch's (an image's patches) has no
            padding.
        pooling: there is one reading a row; `at` must then be a word, and does not matter.

    Raises:
        UsageError: an unknown word; positions of another shape, none at all, or in padding; positions for a pooled
            model.
    """
    real = batch.attention_mask.bool()
    real = real if real.shape == shape else torch.ones(shape, dtype=torch.bool, device=real.device)
    if isinstance(at, str) and at not in {"last", "all"}:
        raise UsageError(f"positions {at!r}", expected="'last', 'all' or Positions", todo="correct `at`")
    if pooling is not None:
        if not isinstance(at, str):
            raise UsageError(
                "positions for a model that pools each row",
                expected="no positions: there is one reading a row",
                todo="drop `at`",
            )
        first = torch.zeros_like(real)
        first[:, 0] = True
        return _places(real if pooling == "mean" else first, pooling)
    return _places(_chosen(batch, real, at))


def _places(mask: Bool[Tensor, "batch pos"], pooling: Pooling | None = None) -> Places:
    rows, columns = mask.nonzero(as_tuple=True)
    return Places(rows, columns, pooling)


def _chosen(batch: Batch, real: Bool[Tensor, "batch pos"], at: PlaceChoice) -> Bool[Tensor, "batch pos"]:
    if at == "all":
        return real
    if isinstance(at, str):
        n_after = real.flip(1).long().cumsum(dim=1).flip(1)  # real tokens from here on, this one counted
        return real & (n_after == 1)
    mask = at.mask(batch)
    if mask.shape != real.shape:
        raise UsageError(
            f"positions of shape {tuple(mask.shape)} for a stream of {tuple(real.shape)}",
            expected="positions of the stream that makes the logits",
            todo="use 'last' or 'all' where the stream has other positions than the tokens",
        )
    if bool((mask & ~real).any()) or not bool(mask.any()):
        raise UsageError(
            "positions in padding" if bool(mask.any()) else "no position to read",
            expected="at least one real token and nothing else",
            todo="choose positions within the rows",
        )
    return mask
