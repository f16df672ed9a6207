"""Batches of rows for a model, and what a run over one gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent, UsageError

__all__ = ["Batch", "Capture"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of tokens, padded to one length on either side.

    Args:
        input_ids: token ids, int64 [batch pos]; what stands in padded places is never looked at.
        attention_mask: 1 for a real token and 0 for padding, integer [batch pos]; each row has a real token.
        extra: further inputs by the name that the model's `forward` gives them, for example
            `{"weapon_ids": [batch]}`. `labels` [batch pos] is kept for the loss and never passed on.
        targets: the complete sets as multi-hot rows, for set models.

    Raises:
        BadDataError: shapes that do not agree, ids that are not int64, a mask with other values than 0 and 1,
            a row without a real token, extra or targets with NaN or another number of rows. Values are looked at
            on the CPU only.
    """

    input_ids: Tensor  # shapes and dtypes are checked below, with an error that says what to do
    attention_mask: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    targets: Float[Tensor, "batch d_vocab"] | None = None

    def __post_init__(self) -> None:
        ids, mask = self.input_ids, self.attention_mask
        if ids.ndim != 2 or ids.shape != mask.shape or ids.numel() == 0:
            raise _bad(f"input_ids {tuple(ids.shape)} with attention_mask {tuple(mask.shape)}", "two equal [batch pos]")
        if ids.dtype != torch.int64 or mask.dtype.is_floating_point:
            raise _bad(f"input_ids {ids.dtype} with attention_mask {mask.dtype}", "int64 ids and an integer mask")
        if ids.device.type != "cpu":
            return  # batches are made on the CPU; looking at values elsewhere would wait for the device
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise _bad("an attention_mask with other values than 0 and 1", "1 for real tokens, 0 for padding")
        empty = (mask.sum(dim=1) == 0).nonzero().flatten().tolist()
        if empty:
            raise _bad(f"row {empty[0]} has no real token ({len(empty)} such rows)", "a token in every row")
        named = dict(self.extra) if self.targets is None else {**self.extra, "targets": self.targets}
        for name, tensor in named.items():
            if tensor.ndim == 0 or tensor.shape[0] != ids.shape[0]:
                raise _bad(f"{name} has shape {tuple(tensor.shape)}", f"{ids.shape[0]} rows")
            if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
                raise _bad(f"{name} has NaN or infinite values", "finite numbers")

    @classmethod
    def from_rows(
        cls, rows: Sequence[Sequence[int]], *, pad_id: int = 0, side: Literal["left", "right"] = "right"
    ) -> Batch:
        """A batch of rows of token ids, padded with `pad_id` on the given side."""
        if not rows:
            raise UsageError("a batch of no rows", expected="at least one row", todo="pass some rows")
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.int64)
        for index, row in enumerate(rows):
            place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
            ids[index, place] = torch.as_tensor(row, dtype=torch.int64)
            mask[index, place] = 1
        return cls(ids, mask)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.input_ids.shape[0]

    @property
    def position_ids(self) -> Int[Tensor, "batch pos"]:
        """The place of each real token among the real tokens of its row, from 0; padding repeats its neighbour's."""
        return (self.attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; itself when it is already there."""
        if self.input_ids.device == torch.device(device):
            return self
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            extra={name: tensor.to(device) for name, tensor in self.extra.items()},
            targets=None if self.targets is None else self.targets.to(device),
        )


@dataclass(frozen=True, eq=False)
class Capture:
    """What one forward gave: a detached tensor a site, and the logits where they were asked for."""

    values: dict[LayerComponent, Tensor]
    logits: Tensor | None = None


def _bad(seen: str, expected: str) -> BadDataError:
    return BadDataError(seen, expected=expected, todo="mend the batch before it goes to the model")
