"""Holding what an edit writes against the value at its site; every refusal names the site."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Positions

__all__ = [
    "acted_on",
    "finite",
    "has_positions",
    "is_pattern",
    "like",
    "require_positions",
    "require_shape",
    "shape_behind",
    "spread_over",
]

CAPTURE = "pass a tensor made for this site, for example from model.capture"


def is_pattern(site: LayerComponent) -> bool:
    """Whether the site's value is [batch n_heads pos pos]."""
    return site.kind.endswith("pattern")


def has_positions(site: LayerComponent, value: Tensor) -> bool:
    """Whether the value's second axis is the positions'; a pooled site's value is [batch d_model]."""
    return site.neuron is not None or (value.ndim > 2 and not is_pattern(site))


def shape_behind(site: LayerComponent, value: Tensor) -> tuple[int, ...]:
    """The shape of one position's value; of one row's at a site without positions."""
    return tuple(value.shape[2:] if has_positions(site, value) else value.shape[1:])


def finite(what: str, tensor: Tensor) -> Tensor:
    """The tensor. Raises UsageError when it holds NaN or infinity."""
    if bool(torch.isfinite(tensor).all()):
        return tensor
    raise UsageError(f"{what} with NaN or infinity", expected="finite numbers", todo="look at where it comes from")


def like(tensor: Tensor, value: Tensor) -> Tensor:
    """The tensor in the dtype and on the device of the value."""
    return tensor.to(value.device, value.dtype)


def require_shape(site: LayerComponent, what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise UsageError unless a shape is the one of the site."""
    if found != expected:
        raise UsageError(f"{what} of shape {list(found)} at {site}", expected=f"{list(expected)}", todo=CAPTURE)


def spread_over(site: LayerComponent, what: str, tensor: Tensor, value: Tensor) -> Tensor:
    """The tensor broadcast to the value's shape, in its dtype.

    It has either no axes of batch and positions or all axes of the value: [batch d_model] could be meant for either.
    Raises UsageError for anything else.
    """
    shape = shape_behind(site, value)
    if tensor.ndim <= len(shape) or tensor.ndim == value.ndim:
        try:
            return like(tensor, value).expand(value.shape)
        except RuntimeError:  # the one way in which torch says that it does not broadcast
            pass
    raise UsageError(
        f"{what} of shape {list(tensor.shape)} at {site}",
        expected=f"a number, what broadcasts to {list(shape)}, or what has all axes of {list(value.shape)} (or 1)",
        todo=CAPTURE,
    )


def require_positions(site: LayerComponent, value: Tensor, batch: Batch, what: str) -> None:
    """Raise UsageError unless the value has the batch's positions as its second axis."""
    if not has_positions(site, value) or value.shape[:2] != batch.attention_mask.shape:
        raise UsageError(
            f"{what} at {site}, whose value is {list(value.shape)}",
            expected=f"a value that begins with [batch pos] = {list(batch.attention_mask.shape)}",
            todo="use a site with the batch's positions",
        )


def acted_on(site: LayerComponent, value: Tensor, batch: Batch, at: Positions | None) -> Bool[Tensor, "batch *pos"]:
    """Where an edit acts, on the value's device: [batch pos] without padding, or the rows [batch] of a pooled site.

    Raises UsageError when the value has other positions than the batch, or none and some are asked for.
    """
    if at is None and not has_positions(site, value):
        return torch.ones(len(value), dtype=torch.bool, device=value.device)
    if at is None and batch.attention_mask.shape[1] == 1:
        # a batch of values (patches of an image) has one mark a row, and every position is real
        return batch.attention_mask.bool().to(value.device).expand(value.shape[:2])
    require_positions(site, value, batch, "real positions" if at is None else "positions (at=...)")
    mask = batch.attention_mask.bool() if at is None else at.mask(batch)
    return mask.to(value.device)
