"""From a component map to the sites it describes with the way to each, and those it cannot reach with the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from mechscope.core import LayerComponent, UsageError
from mechscope.models.component_map import ComponentMap, HeadTap, Tap, blocks_of, find_module
from mechscope.models.opened_parts import OpenedPart
from mechscope.models.points import (
    Access,
    Seen,
    Stream,
    attention_pattern,
    block_path,
    difference,
    direct,
    find_part,
    head_shares,
    head_slice,
    scaled,
    total,
)
from mechscope.models.projections import NormParts, input_width, projection_matrix, read_norm, why_unreadable

__all__ = ["BlockSites", "site_accesses"]

Stack = Literal["encoder"] | None
Found = dict[LayerComponent, Access]


def site_accesses(root: nn.Module, component_map: ComponentMap) -> tuple[Found, dict[LayerComponent, str]]:
    """Every site that the map describes, in the order of the forward pass; and those that cannot be, with the reason.

    Within one point the order is that in which edits are applied. `logits` has no point: it is the output itself.
    Raises NotFoundError for a path that is in no block, UsageError for heads that do not fit a projection.
    """
    found: Found = {}
    refused: dict[LayerComponent, str] = {}
    if component_map.encoder is not None:
        _add_stack(root, component_map.encoder, "encoder", found, refused)
    _add_stack(root, component_map, None, found, refused)
    if component_map.pooled is not None:
        find_module(root, component_map.pooled.module, what="pooled")
        found[LayerComponent(kind="pooled")] = direct(component_map.pooled)
    return found, refused


def _add_stack(
    root: nn.Module, component_map: ComponentMap, stack: Stack, found: Found, refused: dict[LayerComponent, str]
) -> None:
    found[LayerComponent(kind="embed", stack=stack)] = direct(Tap(module=block_path(component_map, 0), at="input"))
    for layer in range(len(blocks_of(root, component_map))):
        block = BlockSites(root, component_map, layer)
        accesses = block.accesses()
        found |= {LayerComponent(kind=kind, layer=layer, stack=stack): access for kind, access in accesses.items()}
        refused |= {LayerComponent(kind=kind, layer=layer, stack=stack): why for kind, why in block.refused.items()}
    if component_map.final_norm is not None:
        find_module(root, component_map.final_norm, what="final_norm")
        found[LayerComponent(kind="final_norm", stack=stack)] = direct(Tap(module=component_map.final_norm))


class _UnreadableError(Exception):
    """Why a site cannot be reached."""


class BlockSites:
    """The sites of one block. `refused` says which of them cannot be reached, and why."""

    def __init__(self, root: nn.Module, component_map: ComponentMap, layer: int) -> None:
        self.root = root
        self.map = component_map
        self.layer = layer
        self.block = block_path(component_map, layer)
        self.entry = Tap(module=self.block, at="input")
        self.refused: dict[str, str] = {}

    def accesses(self) -> dict[str, Access]:
        """The sites by kind, in the order of the forward pass (the MLP behind the attention, also in parallel)."""
        found = {"resid_pre": direct(self.entry)}
        stream: Stream | None = Stream(((self.entry, 1.0),))
        for prefix in ("", "cross_"):
            stream = self._attention(prefix, stream, found)
        self._mlp(stream, found)
        found["resid_post"] = direct(Tap(module=self.block))
        return found

    def _attention(self, prefix: str, before: Stream | None, found: dict[str, Access]) -> Stream | None:
        """Add an attention's sites; gives back the stream after it (None where nothing says it)."""
        attention = self._field(f"{prefix}attention")
        for kind, field in (("q", "query"), ("k", "key"), ("v", "value")):
            self._try(found, f"{prefix}{kind}", partial(self._heads_of, f"{prefix}{field}"))
        self._try(found, f"{prefix}pattern", lambda: self._pattern(prefix))
        self._try(found, f"{prefix}z", lambda: self._z(prefix))
        self._try(found, f"{prefix}head_out", lambda: self._head_out(prefix))
        if attention is None or before is None:
            return before if attention is None else None
        try:
            point = self._tap(f"{prefix}attention")
        except _UnreadableError as reason:
            self.refused[f"{prefix}attn_out"] = str(reason)
            return None
        factor = self.map.residual_multiplier
        if self.map.attention_returns_stream:
            found[f"{prefix}attn_out"] = difference(point, before=before)
            after, middle = Stream(((point, 1.0),)), direct(point)
        else:
            found[f"{prefix}attn_out"] = direct(point, factor=factor)
            after, middle = Stream((*before.parts, (point, factor))), total(point, before=before, factor=factor)
        if not self.map.parallel_blocks:
            found.pop("resid_mid", None)
            found["resid_mid"] = middle
            return after
        return before

    def _mlp(self, before: Stream | None, found: dict[str, Access]) -> None:
        like = self.entry if self.map.mlp_flattens else None
        if self.map.mlp_pre is not None:
            field = self.map.mlp_pre
            self._try(found, "mlp_pre", lambda: direct(self._tap_at("mlp_pre", field.module, field.at), like=like))
        if self.map.mlp_projection is not None:
            self._try(found, "mlp_post", lambda: direct(self._tap("mlp_projection", at="input"), like=like))
        if self.map.mlp is not None:
            self._try(found, "mlp_out", lambda: self._mlp_out(before, like))

    def _mlp_out(self, before: Stream | None, like: Tap | None) -> Access | None:
        point = self._tap("mlp")
        if not self.map.mlp_returns_stream:
            return direct(point, factor=self.map.residual_multiplier, like=like)
        return None if before is None else difference(point, before=before)

    def _try(self, found: dict[str, Access], kind: str, make: Callable[[], Access | None]) -> None:
        """Add a site, or the reason why it cannot be reached."""
        if kind in self.map.absent:
            return
        try:
            access = make()
        except _UnreadableError as reason:
            self.refused[kind] = str(reason)
            return
        if access is not None:
            found[kind] = access

    def _field(self, name: str) -> str | None:
        value: str | None = getattr(self.map, name)
        return value

    def _tap(self, field: str, at: Literal["input", "output"] = "output") -> Tap:
        path = self._field(field)
        assert path is not None
        return self._tap_at(field, path, at)

    def _tap_at(self, field: str, path: str, at: Literal["input", "output", "softmax"]) -> Tap:
        whole = f"{self.block}.{path}"
        if find_part(self.root, whole) is None:
            siblings = [f"{block_path(self.map, layer)}.{path}" for layer in range(len(blocks_of(self.root, self.map)))]
            if any(find_part(self.root, sibling) is not None for sibling in siblings):
                raise _UnreadableError(f"block {self.layer} has no {path!r}: it is built otherwise than other blocks")
            find_module(self.root, whole, what=field)
        return Tap(module=whole, at=at)

    def _heads_of(self, field: str) -> Access | None:
        tap: HeadTap | None = getattr(self.map, field)
        if tap is None:
            return None
        point = self._tap_at(field, tap.module, "output")
        return head_slice(point, tap)

    def _pattern(self, prefix: str) -> Access | None:
        projection = self._field(f"{prefix}attention_projection")
        if projection is None or not self.map.n_heads:
            return None
        core = None if prefix else self.map.attention_core
        core = core or projection.rpartition(".")[0]
        return attention_pattern(self._tap_at("attention_core", core, "softmax"), self.map.n_heads) if core else None

    def _z(self, prefix: str) -> Access | None:
        n_heads = self.map.n_heads
        if self._field(f"{prefix}attention_projection") is None or not n_heads:
            return None
        point = self._tap(f"{prefix}attention_projection", at="input")
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

    def _head_out(self, prefix: str) -> Access | None:
        n_heads, factor = self.map.n_heads, self.map.residual_multiplier
        fields = (self._field(f"{prefix}attention_projection"), self._field(f"{prefix}attention"))
        if None in fields or not n_heads:
            return None
        z_point = self._tap(f"{prefix}attention_projection", at="input")
        projection = OpenedPart(self.root, z_point.module)
        if (why := why_unreadable(projection.found())) is not None:
            raise _UnreadableError(f"the weights of {z_point.module!r} cannot be read: {why}")
        norm, norm_point = self.attention_norm()
        needs = (z_point,) if norm_point is None else (z_point, norm_point)
        after = None if norm_point is None else OpenedPart(self.root, norm_point.module)

        def read(raw: Tensor, seen: Seen) -> Tensor:
            shares = head_shares(seen[z_point], projection_matrix(projection.found()), n_heads)
            if norm is not None and norm_point is not None and after is not None:
                parts = norm.reread(after.found())
                shares = parts.linear(shares, parts.scale(seen[norm_point]).unsqueeze(-2))
            return scaled(shares, factor)

        return Access(
            self._tap(f"{prefix}attention"),
            read=read,
            write=lambda raw, old, new: raw + (new - old).sum(dim=-2) / factor,
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
