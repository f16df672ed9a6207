"""What lies between the last stream and the unembedding, as a linear map at a given scale.

norm      y = g * centred(x) / s(x) + b     LayerNorm or RMSNorm, also one without weights (g = 1, b = 0)
matrix    y = x M + b                       a plain linear map (OPT-350M)
nothing   y = x
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechscope.core import UsageError
from mechscope.models.projections import (
    NormParts,
    follows_form,
    projection_bias,
    projection_matrix,
    read_norm,
    require_linear,
)

__all__ = ["FinalMap", "LinearParts", "read_final_map"]

SMALL = 1e-3


@dataclass(frozen=True, eq=False)
class LinearParts:
    """`x matrix + bias`."""

    matrix: Float[Tensor, "d_in d_out"]
    bias: Float[Tensor, "d_out"] | float

    def linear(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """The share of `x` in the output; the bias is left out."""
        return x @ self.matrix


FinalMap: TypeAlias = NormParts | LinearParts


@torch.no_grad()
def read_final_map(module: nn.Module, *, like: Float[Tensor, "d_model"]) -> FinalMap | None:
    """The module's form, or None when it is none of those known. `like` gives width, dtype and device."""
    if (norm := read_norm(module)) is not None:
        return norm
    try:
        require_linear(module)
    except UsageError:
        return None if [*module.parameters()] else _weightless_norm(module, like)
    return LinearParts(projection_matrix(module).detach(), projection_bias(module))


def _weightless_norm(module: nn.Module, like: Tensor) -> NormParts | None:
    """A norm without weights (OLMo's); its epsilon is measured where it counts, on a small input."""
    probe = torch.linspace(-1.0, 2.0, len(like), device=like.device).square().to(like.dtype)
    ones = torch.ones_like(probe)
    for is_centred in (True, False):
        parts = NormParts(ones, 0.0, is_centred, 0.0)
        small = parts.centre(probe * SMALL).double()
        scale = small.square().sum() / (small * module(probe * SMALL)).sum()
        epsilon = float((scale.square() - small.square().mean()).clamp(min=0.0))
        parts = NormParts(ones, 0.0, is_centred, epsilon)
        if all(follows_form(module, parts, probe * size) for size in (1.0, SMALL)):
            return parts
    return None
