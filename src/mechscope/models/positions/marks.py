"""Positions marked row by row: by hand, or by a column of a corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mechscope.models.batch import Batch
from mechscope.models.positions.sets import PositionSet, as_many, wrong

__all__ = ["marked"]


def marked(rows: Bool[Tensor, "batch pos"] | Sequence[np.ndarray | Sequence[bool]]) -> PositionSet:
    """Positions marked by hand or by a column of a corpus.

    Args:
        rows: for each row of the batch its booleans over its real tokens; or, as a tensor, a mask [batch pos] in the
            columns of the batch, which marks no padding.

    Raises (at the batch):
        UsageError: other rows or lengths than the batch's, values that are no booleans, or marked padding.
    """
    return PositionSet(lambda batch: _placed(rows, batch), f"marked({len(rows)} rows)")


def _placed(rows: Tensor | Sequence[np.ndarray | Sequence[bool]], batch: Batch) -> Tensor:
    real = batch.attention_mask.bool()
    if isinstance(rows, Tensor):
        if rows.shape != real.shape or bool((rows.to(real.device) & ~real).any()):
            raise wrong(
                f"a mask of shape {list(rows.shape)}, {int(rows.sum())} marked",
                f"{list(real.shape)} as the batch, no padding marked",
                "make the mask for this batch, or pass the rows' booleans over real tokens",
            )
        return rows.to(real.device)
    marks = [np.asarray(row) for row in as_many(rows, batch.n_rows, "marks")]
    for index, (mark, n_tokens) in enumerate(zip(marks, real.sum(dim=1).tolist(), strict=True)):
        if mark.dtype != np.bool_ or mark.shape != (n_tokens,):
            raise wrong(
                f"marks of row {index}: {mark.dtype} {list(mark.shape)}",
                f"{n_tokens} booleans, one for each real token of the row",
                "take the column of the rows that are in the batch, in their order",
            )
    mask = torch.zeros_like(real)
    mask[real] = torch.from_numpy(np.concatenate(marks)).to(real.device)
    return mask
