"""Sites as hook points: where each site is read, and how a new value is written back.

A *point* is the input or output of one module, or the softmax inside it. Most sites are the tensor at a point. Some
are derived from it and from tensors seen earlier in the same forward; a new value is then written as
`raw + (new - old)`, so that writing back what was read adds zero and changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent
from mechscope.models.component_map import ComponentMap, HeadTap, Tap

__all__ = [
    "Access",
    "Seen",
    "Stream",
    "block_path",
    "direct",
    "find_part",
    "head_shares",
    "head_slice",
    "narrow",
    "widen",
]

Seen: TypeAlias = dict[Tap, Tensor]  # tensors recorded at points in this forward


@dataclass(frozen=True)
class Access:
    """How to read and write one site.

    Args:
        point: the module and side where the hook goes.
        read: the site's value from the tensor at the point and the recorded tensors.
        write: the tensor to leave at the point, from (tensor there, old value, new value).
        needs: points whose tensors `read` wants; they come earlier in the forward.
    """

    point: Tap
    read: Callable[[Tensor, Seen], Tensor]
    write: Callable[[Tensor, Tensor, Tensor], Tensor]
    needs: tuple[Tap, ...] = ()


@dataclass(frozen=True)
class Stream:
    """The residual stream between two sublayers, as a sum of tensors at points, each times a factor."""

    parts: tuple[tuple[Tap, float], ...]

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The points to be recorded."""
        return tuple(tap for tap, _ in self.parts)

    def value(self, seen: Seen) -> Tensor:
        """The stream, from what was recorded; the first part stands in its full shape."""
        first, *more = self.parts
        total = seen[first[0]]
        for tap, factor in more:
            total = total + scaled(seen[tap], factor)
        return total


def direct(point: Tap, *, factor: float = 1.0, like: Tap | None = None) -> Access:
    """The tensor at a point as it stands, times a factor; in the leading shape of the tensor at `like`, if given."""
    if like is None and factor == 1.0:
        return Access(point, read=lambda raw, seen: raw, write=lambda raw, old, new: _laid_out_as(raw, new))

    def read(raw: Tensor, seen: Seen) -> Tensor:
        shaped = raw if like is None else raw.reshape(*seen[like].shape[:-1], raw.shape[-1])
        return scaled(shaped, factor)

    def write(raw: Tensor, old: Tensor, new: Tensor) -> Tensor:
        return raw + ((new - old) / factor).reshape(raw.shape)

    return Access(point, read=read, write=write, needs=() if like is None else (like,))


def difference(point: Tap, *, before: Stream) -> Access:
    """What a sublayer adds, where the tensor at the point is the stream after it."""
    return Access(point, lambda raw, seen: raw - before.value(seen), _add_change, needs=before.taps)


def total(point: Tap, *, before: Stream, factor: float = 1.0) -> Access:
    """The stream after a sublayer, where the tensor at the point is what it adds."""
    return Access(
        point,
        read=lambda raw, seen: before.value(seen) + scaled(raw, factor),
        write=lambda raw, old, new: raw + (new - old) / factor,
        needs=before.taps,
    )


def head_slice(point: Tap, tap: HeadTap) -> Access:
    """The heads' queries, keys or values in a projection's output: [... n_heads d_head]."""

    def cut(raw: Tensor) -> Tensor:
        raw = raw.squeeze(1) if tap.has_group_axis else raw
        return raw.view(*raw.shape[:-1], tap.n_groups, -1)[..., tap.start : tap.stop]

    def read(raw: Tensor, seen: Seen) -> Tensor:
        part = cut(raw.contiguous())
        return part.reshape(*part.shape[:-2], tap.n_heads, -1)

    def write(raw: Tensor, old: Tensor, new: Tensor) -> Tensor:
        written = raw.clone(memory_format=torch.contiguous_format)
        part = cut(written)
        part.copy_(new.reshape(part.shape))
        return written

    return Access(point, read=read, write=write)


def head_shares(joined: Tensor, matrix: Tensor, n_heads: int) -> Tensor:
    """What each head adds: [... n_heads*d_head] through [n_heads*d_head d_model] gives [... n_heads d_model].

    One matrix product a head straight into the result: no other temporary of its size.
    """
    heads = joined.reshape(-1, n_heads, joined.shape[-1] // n_heads).movedim(1, 0)
    shares = heads @ matrix.reshape(n_heads, -1, matrix.shape[-1])
    return shares.movedim(0, 1).view(*joined.shape[:-1], n_heads, -1)


def attention_pattern(point: Tap, n_heads: int) -> Access:
    """The softmax's result as [batch n_heads pos pos], also where batch and heads were joined or grouped."""

    def read(raw: Tensor, seen: Seen) -> Tensor:
        return raw.reshape(-1, n_heads, *raw.shape[-2:])

    return Access(point, read=read, write=lambda raw, old, new: new.reshape(raw.shape))


def narrow(site: LayerComponent, value: Tensor) -> Tensor:
    """One head or neuron of a whole site's value, as a view; the value itself when the site is whole."""
    if site.head is not None:
        value = value.select(_head_axis(site, value), site.head)
    return value if site.neuron is None else value.select(-1, site.neuron)


def widen(site: LayerComponent, whole: Tensor, new: Tensor) -> Tensor:
    """The whole value with one head or neuron replaced."""
    if site.head is None and site.neuron is None:
        return new
    written = whole.clone()
    narrow(site, written).copy_(new)
    return written


def block_path(component_map: ComponentMap, layer: int) -> str:
    """Path of a block."""
    return f"{component_map.blocks}.{layer}"


def find_part(root: nn.Module, path: str) -> nn.Module | None:
    """The submodule at a path, or None."""
    try:
        return root.get_submodule(path)
    except AttributeError:
        return None


def scaled(value: Tensor, factor: float) -> Tensor:
    """`value * factor`, `value` itself when the factor is one."""
    return value if factor == 1.0 else value * factor


def _head_axis(site: LayerComponent, value: Tensor) -> int:
    return 1 if site.kind.endswith("pattern") else value.ndim - 2


def _laid_out_as(raw: Tensor, new: Tensor) -> Tensor:
    """`new` with the strides of `raw`: kernels round otherwise where the layout is another (Phi-3's gate is a half)."""
    if new.stride() == raw.stride() or raw.is_contiguous():
        return new
    return torch.empty_strided(raw.shape, raw.stride(), dtype=new.dtype, device=new.device).copy_(new)


def _add_change(raw: Tensor, old: Tensor, new: Tensor) -> Tensor:
    return raw + (new - old)
