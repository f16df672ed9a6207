"""The weights as bytes: their digest, and whether they are there and finite."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TypeAlias
from weakref import ref

import torch
from torch import Tensor, nn

from mechscope.core import BadDataError

__all__ = ["DigestMemory", "digest_weights", "require_finite_weights", "require_values"]

State: TypeAlias = tuple[tuple[str, int, int, torch.dtype], ...]  # name, address, version and dtype of each tensor


def digest_weights(module: nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every parameter and buffer, sorted by name. One pass over them."""
    state = hashlib.sha256()
    for name, tensor in sorted(_tensors(module), key=lambda pair: pair[0]):
        state.update(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1e".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        state.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return state.hexdigest()


class DigestMemory:
    """The digest of a module's weights, made anew when one of them was replaced, moved or written into.

    Torch counts what is written into a tensor, but for what goes through `tensor.data` or outside of torch: that is
    not seen. Tensors made in inference mode are not counted at all; with one of these nothing is remembered.
    """

    def __init__(self) -> None:
        self._state: State | None = None
        self._tensors: list[ref[Tensor]] = []
        self._digest = ""

    def of(self, module: nn.Module) -> str:
        """See `digest_weights`; the cost of a look at every tensor where nothing has changed."""
        named = list(_tensors(module))
        state = None
        if not any(tensor.is_inference() for _, tensor in named):
            state = tuple((name, tensor.data_ptr(), tensor._version, tensor.dtype) for name, tensor in named)
        # the tensors themselves are looked at too: a new one may lie where an old one was freed
        is_known = len(named) == len(self._tensors) and all(
            known() is tensor for known, (_, tensor) in zip(self._tensors, named, strict=True)
        )
        if state is None or state != self._state or not is_known:
            self._digest = digest_weights(module)
            self._state, self._tensors = state, [ref(tensor) for _, tensor in named]
        return self._digest


def require_values(module: nn.Module) -> None:
    """Refuse weights on the meta device. Raises BadDataError, naming the first such parameter."""
    for name, tensor in _tensors(module):
        if tensor.is_meta:
            raise BadDataError(
                f"{name} is on the meta device: it has a shape and no values",
                expected="weights in memory",
                todo="load the weights (from_pretrained, or to_empty and load_state_dict) before opening the model",
            )


def require_finite_weights(module: nn.Module) -> None:
    """Refuse weights with NaN or infinite values. One pass over them.

    Raises:
        BadDataError: naming the first such parameter.
    """
    for name, tensor in _tensors(module):
        if not tensor.dtype.is_floating_point or bool(torch.isfinite(tensor.sum(dtype=torch.float32))):
            continue
        if n_bad := int((~torch.isfinite(tensor)).sum()):  # a finite tensor may still overflow in its sum
            raise BadDataError(
                f"{name} has {n_bad} NaN or infinite values of {tensor.numel()}",
                expected="finite weights",
                todo="the checkpoint is damaged or the training diverged: use another one",
            )


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
