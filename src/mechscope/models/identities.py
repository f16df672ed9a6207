"""The identities that give sites their meaning, measured on one forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.network import Network
from mechscope.models.points import Access, block_path, direct
from mechscope.models.projections import as_input_of, projection_bias, read_norm

__all__ = ["Measured", "measure_identities", "misshapen", "probe_accesses", "relative_error", "stacks_of"]

STREAM_KINDS = frozenset({"resid_pre", "resid_mid", "resid_post", "attn_out", "cross_attn_out", "mlp_out"})
LOOSE_KINDS = frozenset({"pattern", "cross_pattern", "cross_k", "cross_v"})  # other axes, or the encoder's positions
OUTPUTS = ("attn_out", "cross_attn_out", "mlp_out")
CROSS = ("cross_attn_out", "cross_head_out")
ENCODER: Literal["encoder"] = "encoder"
Values = dict[LayerComponent, Tensor]
Stack = Literal["encoder"] | None


@dataclass(frozen=True)
class Measured:
    """An identity at some sites: which fail with it, and by how much it is off (NaN when it cannot be told)."""

    name: str
    sites: tuple[LayerComponent, ...]
    error: float
    note: str = ""


def relative_error(seen: Tensor, told: Tensor) -> float:
    """max |seen - told| / max |told|, in float32 or float64; NaN when the shapes differ or a value is not finite."""
    if seen.shape != told.shape:
        return float("nan")
    dtype = torch.float64 if seen.dtype == told.dtype == torch.float64 else torch.float32
    seen, told = seen.detach().to(dtype), told.detach().to(dtype)
    scale = told.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float((seen - told).abs().max() / scale)


def misshapen(values: Values) -> dict[LayerComponent, str]:
    """The sites of blocks that do not have the batch and position axes (or, in the stream, the width) of `embed`."""
    found = {}
    for site, value in values.items():
        stream = values[LayerComponent(kind="embed", stack=site.stack)]
        n_axes = stream.ndim if site.kind in STREAM_KINDS else min(2, stream.ndim - 1)
        is_block = site.layer is not None and site.kind not in LOOSE_KINDS
        if is_block and value.shape[:n_axes] != stream.shape[:n_axes]:
            found[site] = f"its shape is {list(value.shape)} where the stream's is {list(stream.shape)}"
    return found


def probe_accesses(network: Network) -> dict[LayerComponent, Access]:
    """Tensors that only the check reads: what the MLP's norm and the norm after attention see."""
    found = {}
    for component_map, stack, n_layers in stacks_of(network):
        for layer in range(n_layers):
            for field in ("mlp_norm", "attention_norm_after"):
                if path := getattr(component_map, field):
                    point = Tap(module=f"{block_path(component_map, layer)}.{path}", at="input")
                    found[LayerComponent(kind=f"{field} input", layer=layer, stack=stack)] = direct(point)
    return found


def stacks_of(network: Network) -> list[tuple[ComponentMap, Stack, int]]:
    """The stacks of blocks: the encoder's, where there is one, and the one with the logits."""
    component_map = network.component_map
    encoder = [] if component_map.encoder is None else [(component_map.encoder, ENCODER, network.n_encoder_layers)]
    return [*encoder, (component_map, None, network.n_layers)]


@torch.no_grad()
def measure_identities(network: Network, values: Values, logits: Tensor) -> Iterator[Measured]:
    """Every identity for which all tensors were read."""
    for component_map, stack, n_layers in stacks_of(network):
        for layer in range(n_layers):
            yield from _BlockIdentities(network, values, component_map, stack, layer).measure()
        yield from _norm_identity(network, values, component_map, stack, n_layers)
    yield from _output_identity(network, values, logits)


class _BlockIdentities:
    def __init__(self, network: Network, values: Values, component_map: ComponentMap, stack: Stack, layer: int) -> None:
        self.network = network
        self.map = component_map
        self.values = values
        self.stack = stack
        self.layer = layer

    def measure(self) -> Iterator[Measured]:
        yield from self._heads("")
        yield from self._heads("cross_")
        yield from self._neurons()
        yield from self._middle()
        yield from self._stream()
        after = LayerComponent(kind="resid_pre", layer=self.layer + 1, stack=self.stack)
        if after in self.values and (post := self._get("resid_post")) is not None:
            yield Measured("chain", self._sites("resid_post"), relative_error(post, self.values[after]))

    def _get(self, kind: str) -> Tensor | None:
        return self.values.get(LayerComponent(kind=kind, layer=self.layer, stack=self.stack))

    def _sites(self, *kinds: str) -> tuple[LayerComponent, ...]:
        return tuple(LayerComponent(kind=kind, layer=self.layer, stack=self.stack) for kind in kinds)

    def _module(self, path: str) -> nn.Module:
        return self.network.module.get_submodule(f"{block_path(self.map, self.layer)}.{path}")

    def _heads(self, prefix: str) -> Iterator[Measured]:
        path = getattr(self.map, f"{prefix}attention_projection")
        shares, attention, stream = self._get(f"{prefix}head_out"), self._get(f"{prefix}attn_out"), self._before(prefix)
        if shares is None or attention is None or stream is None or path is None:
            return
        bias = projection_bias(self._module(path))
        told: Tensor | float = bias
        found = attention
        if self.map.attention_norm_after:
            norm = read_norm(self._module(self.map.attention_norm_after))
            norm_input = self._get("attention_norm_after input")
            if norm is None or norm_input is None:
                return
            added = (stream if self.map.attention_returns_stream else torch.zeros_like(stream)) + bias
            told = norm.linear(added, norm.scale(norm_input)) + norm.bias
        if self.map.attention_returns_stream:
            # attn_out is resid_mid - resid_pre here, and keeps the rounding of both: where it is small beside them
            # (a fresh BERT's is 1/200 of the stream), float32 noise alone is 1e-5 of it. So the sum is held against
            # the stream as the network made it, with nothing taken away.
            found = stream + attention
            told = told if self.map.attention_norm_after else told + stream
        else:
            told = told * self.map.residual_multiplier
        yield Measured(
            "heads", self._sites(f"{prefix}head_out", f"{prefix}z"), relative_error(shares.sum(dim=-2) + told, found)
        )

    def _before(self, prefix: str) -> Tensor | None:
        """The stream that an attention reads."""
        stream = self._get("resid_pre")
        first = self._get("attn_out")
        return stream if not prefix or stream is None or first is None else stream + first

    def _neurons(self) -> Iterator[Measured]:
        neurons, mlp = self._get("mlp_post"), self._get("mlp_out")
        if neurons is None or mlp is None or self.map.mlp_projection is None:
            return
        told = _output(self._module(self.map.mlp_projection), neurons)
        before = self._get("resid_mid") if self.map.mlp_returns_stream else None
        if self.map.mlp_returns_stream and before is None:
            return
        if before is not None and told.shape != before.shape:
            yield Measured("neurons", self._sites("mlp_post"), float("nan"), "the projection ends at another width")
            return
        told = told if before is None else told + before
        if self.map.mlp_norm_after:
            told = _output(self._module(self.map.mlp_norm_after), told)
        found = mlp
        if before is not None:  # against the stream itself, as for the heads
            found = mlp + before
        else:
            told = told * self.map.residual_multiplier
        yield Measured("neurons", self._sites("mlp_post"), relative_error(told, found))

    def _middle(self) -> Iterator[Measured]:
        seen, middle = self._get("mlp_norm input"), self._get("resid_mid")
        if seen is not None and middle is not None:
            yield Measured("middle", self._sites("resid_mid"), relative_error(middle, seen))

    def _stream(self) -> Iterator[Measured]:
        pre, post = self._get("resid_pre"), self._get("resid_post")
        parts = {kind: part for kind in OUTPUTS if (part := self._get(kind)) is not None}
        if not parts:
            return
        if pre is None or post is None:
            yield Measured("stream", self._sites(*parts), float("nan"), "resid_pre or resid_post cannot be read")
            return
        seen = self._get("mlp_norm input")
        if seen is not None and not self.map.parallel_blocks:
            yield from self._halves(pre, seen, post, parts)
            return
        missing = {"attn_out", "mlp_out"} - set(parts)
        note = f"the map gives no {missing.pop()}, so it was taken to be nothing" if missing else ""
        # without the norm of the MLP nothing else says what that reads: resid_mid falls with the sum
        resting = (*OUTPUTS, "head_out", "cross_head_out", "resid_mid")
        kinds = [kind for kind in resting if self._get(kind) is not None]
        total = sum(parts.values(), start=pre)
        yield Measured("stream", self._sites(*kinds), relative_error(total, post), note)

    def _halves(self, pre: Tensor, middle: Tensor, post: Tensor, parts: dict[str, Tensor]) -> Iterator[Measured]:
        attentions = [part for kind, part in parts.items() if kind != "mlp_out"]
        if attentions:
            kinds = [kind for kind in ("attn_out", "head_out", *CROSS) if self._get(kind) is not None]
            error = relative_error(sum(attentions, start=pre), middle)
            told = " + ".join(kind for kind in parts if kind != "mlp_out")
            yield Measured("stream", self._sites(*kinds), error, f"resid_pre + {told} = resid_mid")
        if (mlp := parts.get("mlp_out")) is not None:
            error = relative_error(middle + mlp, post)
            yield Measured("stream", self._sites("mlp_out"), error, "resid_mid + mlp_out = resid_post")


def _norm_identity(
    network: Network, values: Values, component_map: ComponentMap, stack: Stack, n_layers: int
) -> Iterator[Measured]:
    last = values.get(LayerComponent(kind="resid_post", layer=n_layers - 1, stack=stack))
    normed = values.get(site := LayerComponent(kind="final_norm", stack=stack))
    if component_map.final_norm and not component_map.head_transform and normed is not None and last is not None:
        told = _output(network.module.get_submodule(component_map.final_norm), last)
        yield Measured("norm", (site,), relative_error(normed, told))


def _output_identity(network: Network, values: Values, logits: Tensor) -> Iterator[Measured]:
    component_map, root = network.component_map, network.module
    normed = values.get(norm_site := LayerComponent(kind="final_norm"))
    pooled = values.get(pooled_site := LayerComponent(kind="pooled"))
    source, site = (pooled, pooled_site) if pooled is not None else (normed, norm_site)
    if component_map.unembedding and source is not None:
        unembedding = root.get_submodule(component_map.unembedding)
        told = _output(unembedding, as_input_of(unembedding, source))
        told = told if component_map.logit_scale is None else told * component_map.logit_scale
        if (cap := component_map.logit_cap) is not None:
            told = cap * torch.tanh(told / cap)
        yield Measured("output", (site,), relative_error(told, logits))


def _output(module: nn.Module, value: Tensor) -> Tensor:
    """What a module of the map makes of a value; NaN when it cannot take it, so that the identity fails."""
    try:
        found = module(value)
    except (RuntimeError, TypeError):
        found = None
    return found if isinstance(found, Tensor) else torch.tensor(float("nan"), device=value.device)
