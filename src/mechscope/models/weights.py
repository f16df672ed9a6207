"""The weights as bytes: their digest, and whether they are there and finite."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mechscope.core import BadDataError

__all__ = ["digest_weights", "require_usable_weights"]


def digest_weights(module: nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every parameter and buffer, sorted by name. One pass over them."""
    state = hashlib.sha256()
    for name, tensor in sorted(_tensors(module), key=lambda pair: pair[0]):
        state.update(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1e".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        state.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return state.hexdigest()


def require_usable_weights(module: nn.Module) -> None:
    """Refuse weights on the meta device, and weights with NaN or infinite values. One pass over them.

    Raises:
        BadDataError: naming the first such parameter.
    """
    for name, tensor in _tensors(module):
        if tensor.is_meta:
            raise BadDataError(
                f"{name} is on the meta device: it has a shape and no values",
                expected="weights in memory",
                todo="load the weights (from_pretrained, or to_empty and load_state_dict) before opening the model",
            )
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor.sum(dtype=torch.float32))):
            n_bad = int((~torch.isfinite(tensor)).sum())
            if n_bad:
                raise BadDataError(
                    f"{name} has {n_bad} NaN or infinite values of {tensor.numel()}",
                    expected="finite weights",
                    todo="the checkpoint is damaged or the training diverged: use another one",
                )


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
