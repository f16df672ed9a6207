"""Sites as hook points: where each site is read, and how a new value is written back.

A *point* is the input or output of one module. Most sites are the tensor at a point. Some are derived from it and
from tensors seen earlier in the same forward; a new value is then written as `raw + (new - old)`, so that writing
back what was read adds zero and changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from mechscope.core import LayerComponent, UsageError
from mechscope.models.component_map import ComponentMap, Tap, blocks_of, find_module
from mechscope.models.projections import NormParts, input_width, projection_matrix, read_norm

__all__ = ["Access", "Seen", "block_path", "direct", "head_shares", "site_accesses"]

Seen = dict[Tap, Tensor]  # tensors recorded at points in this forward


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


def site_accesses(
    root: nn.Module, component_map: ComponentMap
) -> tuple[dict[LayerComponent, Access], dict[LayerComponent, str]]:
    """Every site that the map describes, in the order of the forward pass; and those that cannot be, with the reason.

    Within one point the order is that in which edits are applied. `logits` has no point: it is the output itself.
    Raises NotFoundError for a path that is not in the module, UsageError for heads that do not fit a projection.
    """
    found = {LayerComponent(kind="embed"): direct(Tap(module=block_path(component_map, 0), at="input"))}
    refused: dict[LayerComponent, str] = {}
    for layer in range(len(blocks_of(root, component_map))):
        block = _BlockPoints(root, component_map, layer)
        found |= {LayerComponent(kind=kind, layer=layer): access for kind, access in block.accesses().items()}
        refused |= {LayerComponent(kind=kind, layer=layer): reason for kind, reason in block.refused.items()}
    if component_map.final_norm is not None:
        find_module(root, component_map.final_norm, what="final_norm")
        found[LayerComponent(kind="final_norm")] = direct(Tap(module=component_map.final_norm))
    if component_map.pooled is not None:
        find_module(root, component_map.pooled.module, what="pooled")
        found[LayerComponent(kind="pooled")] = direct(component_map.pooled)
    return found, refused


class _UnreadableError(Exception):
    """Why a site cannot be reached."""


class _BlockPoints:
    """The sites of one block. `refused` says which of them cannot be reached, and why."""

    def __init__(self, root: nn.Module, component_map: ComponentMap, layer: int) -> None:
        self.root = root
        self.map = component_map
        self.block = block_path(component_map, layer)
        self.entry = Tap(module=self.block, at="input")
        self.refused: dict[str, str] = {}

    def accesses(self) -> dict[str, Access]:
        found = {"resid_pre": direct(self.entry), **self._attention_sites()}
        if self.map.mlp_projection:
            found["mlp_post"] = direct(self._tap("mlp_projection", at="input"))
        if self.map.mlp:
            found["mlp_out"] = self._mlp_out()
        return found | {"resid_post": direct(Tap(module=self.block))}

    def _attention_sites(self) -> dict[str, Access]:
        found: dict[str, Access] = {}
        try:
            if self.map.attention_projection and self.map.n_heads:
                found["z"] = self._z(self.map.n_heads)
                if self.map.attention:
                    found["head_out"] = self._head_out(self.map.n_heads)
        except _UnreadableError as reason:
            self.refused["head_out"] = str(reason)
        if self.map.attention:
            point = self._tap("attention")
            if self.map.attention_returns_stream:
                found |= {"attn_out": _difference(point, before=self.entry), "resid_mid": direct(point)}
            else:
                found["attn_out"] = direct(point)
                if not self.map.parallel_blocks:
                    found["resid_mid"] = _sum(point, before=self.entry)
        return found

    def _tap(self, field: str, at: Literal["input", "output"] = "output") -> Tap:
        path = f"{self.block}.{getattr(self.map, field)}"
        find_module(self.root, path, what=field)
        return Tap(module=path, at=at)

    def _z(self, n_heads: int) -> Access:
        point = self._tap("attention_projection", at="input")
        width = input_width(self.root.get_submodule(point.module))
        if width is not None and width % n_heads:
            raise UsageError(
                f"{n_heads} heads over a projection of width {width} at {point.module!r}",
                expected="a width that the heads share evenly",
                todo="correct 'n_heads' in the component map",
            )
        return Access(
            point,
            read=lambda raw, seen: raw.reshape(*raw.shape[:-1], n_heads, -1),
            write=lambda raw, old, new: new.flatten(-2),
        )

    def _head_out(self, n_heads: int) -> Access:
        z_point = self._tap("attention_projection", at="input")
        projection = self.root.get_submodule(z_point.module)
        if input_width(projection) is None:
            raise _UnreadableError(f"the weights of {z_point.module!r} cannot be read as a dense matrix")
        norm, norm_point = self.attention_norm()
        needs = (z_point,) if norm_point is None else (z_point, norm_point)

        def read(raw: Tensor, seen: Seen) -> Tensor:
            shares = head_shares(seen[z_point], projection_matrix(projection), n_heads)
            if norm is None or norm_point is None:
                return shares
            return norm.linear(shares, norm.scale(seen[norm_point]).unsqueeze(-2))

        return Access(
            self._tap("attention"),
            read=read,
            write=lambda raw, old, new: raw + (new - old).sum(dim=-2),
            needs=needs,
        )

    def attention_norm(self) -> tuple[NormParts | None, Tap | None]:
        """The norm after the attention's projection and the point where its input is seen."""
        if not self.map.attention_norm_after:
            return None, None
        point = self._tap("attention_norm_after", at="input")
        if (norm := read_norm(self.root.get_submodule(point.module))) is None:
            raise _UnreadableError(f"the norm {point.module!r} follows no known form")
        return norm, point

    def _mlp_out(self) -> Access:
        point = self._tap("mlp")
        if not self.map.mlp_returns_stream:
            return direct(point)
        if not self.map.attention:
            return _difference(point, before=self.entry)
        if not self.map.attention_returns_stream:
            raise UsageError(
                "an MLP that returns the stream beside an attention that does not",
                expected="both, or neither",
                todo="correct 'mlp_returns_stream' in the component map",
            )
        return _difference(point, before=self._tap("attention"))


def head_shares(joined: Tensor, matrix: Tensor, n_heads: int) -> Tensor:
    """What each head adds: [... n_heads*d_head] through [n_heads*d_head d_model] gives [... n_heads d_model].

    One matrix product a head straight into the result: no other temporary of its size.
    """
    heads = joined.reshape(-1, n_heads, joined.shape[-1] // n_heads).movedim(1, 0)
    shares = heads @ matrix.reshape(n_heads, -1, matrix.shape[-1])
    return shares.movedim(0, 1).view(*joined.shape[:-1], n_heads, -1)


def block_path(component_map: ComponentMap, layer: int) -> str:
    """Path of a block."""
    return f"{component_map.blocks}.{layer}"


def direct(point: Tap) -> Access:
    """The tensor at a point as it stands."""
    return Access(point, read=lambda raw, seen: raw, write=lambda raw, old, new: new)


def _difference(point: Tap, *, before: Tap) -> Access:
    return Access(point, read=lambda raw, seen: raw - seen[before], write=_add_change, needs=(before,))


def _sum(point: Tap, *, before: Tap) -> Access:
    return Access(point, read=lambda raw, seen: raw + seen[before], write=_add_change, needs=(before,))


def _add_change(raw: Tensor, old: Tensor, new: Tensor) -> Tensor:
    return raw + (new - old)
