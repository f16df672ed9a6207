"""What a row holds, as a key: equal rows draw equally, wherever they stand in a batch and however they are padded."""

from __future__ import annotations

import hashlib

from torch import Tensor

from mechscope.models.batch import Batch

__all__ = ["row_keys"]


def row_keys(batch: Batch) -> list[str]:
    """A digest of each row's real tokens and extra inputs; `labels` and targets are no inputs.

    In a step of a generation, of the step's tokens and how many came before them.

    Cost: the batch goes to the host once, and is hashed.
    """
    real = batch.attention_mask.bool().cpu()
    inputs = {"": batch.input_ids, **{name: batch.extra[name] for name in sorted(batch.extra) if name != "labels"}}
    if batch.n_before is not None:
        inputs["n_before"] = batch.n_before
    states = [hashlib.sha256() for _ in range(batch.n_rows)]
    for name, tensor in inputs.items():
        for state, row, kept in zip(states, tensor.cpu(), real, strict=True):
            state.update(f"{name} {row.dtype}".encode())
            state.update(_bytes(row[kept] if row.ndim and row.shape[:1] == kept.shape else row))
    return [state.hexdigest() for state in states]


def _bytes(tensor: Tensor) -> bytes:
    whole = tensor.detach().contiguous().reshape(-1)
    return (whole.float() if whole.dtype.is_floating_point else whole).numpy().tobytes()
