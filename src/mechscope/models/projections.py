"""Reading the linear parts of a network: output projections and norms.

A norm is taken as (x - mean x) * w / s(x) + b or x * w / s(x) + b with s the standard deviation or the root mean
square. Which of the forms a module follows (and whether it stores w or w - 1) is measured, not looked up by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from mechscope.core import UsageError

__all__ = ["NormParts", "input_width", "projection_bias", "projection_matrix", "read_norm"]

FORM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class NormParts:
    """A norm as a linear map at a given scale: `(x - mean x if centred) * weight / scale + bias`."""

    weight: Float[Tensor, "d_model"]
    bias: Float[Tensor, "d_model"] | float
    is_centred: bool
    epsilon: float

    def scale(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... 1"]:
        """What the norm divides by at the input `x`."""
        return (self.centre(x).square().mean(dim=-1, keepdim=True) + self.epsilon).sqrt()

    def centre(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """`x` less its mean where the norm takes the mean away, else `x`."""
        return x - x.mean(dim=-1, keepdim=True) if self.is_centred else x

    def linear(self, x: Float[Tensor, "... d_model"], scale: Tensor | float = 1.0) -> Float[Tensor, "... d_model"]:
        """The share of `x` in the output when the norm divides by `scale`; the bias is left out."""
        return self.centre(x) * self.weight / scale


def projection_matrix(module: nn.Module) -> Float[Tensor, "d_in d_out"]:
    """The matrix W of a linear module, as `y = x W + b`.

    Raises:
        UsageError: a module whose weight cannot be read as a dense matrix (quantised weights, another kind).
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.dtype.is_floating_point:
        raise UsageError(
            f"the weight of {type(module).__name__} is not a dense floating-point matrix",
            expected="nn.Linear or Conv1D with plain weights",
            todo="open the model without quantisation, or leave the sites that need its weights",
        )
    if isinstance(module, Conv1D):
        return weight
    if isinstance(module, nn.Linear):
        return weight.T
    raise UsageError(
        f"{type(module).__name__} is no linear map that can be read",
        expected="nn.Linear or Conv1D",
        todo="mend the map",
    )


def input_width(module: nn.Module) -> int | None:
    """Width of a linear module's input, or None when its weights cannot be read."""
    try:
        return projection_matrix(module).shape[0]
    except UsageError:
        return None


def projection_bias(module: nn.Module) -> Tensor | float:
    """The bias of a linear module, 0.0 when it has none."""
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else 0.0


@torch.no_grad()
def read_norm(module: nn.Module) -> NormParts | None:
    """The norm as a linear map at a given scale, or None when the module follows no known form."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 1:
        return None
    bias = projection_bias(module)
    names = ("eps", "variance_epsilon", "epsilon")
    epsilon = next((float(getattr(module, name)) for name in names if hasattr(module, name)), 0.0)
    probe = torch.linspace(-1.0, 2.0, weight.shape[0], device=weight.device).square().to(weight.dtype)
    seen = module(probe).float()
    for is_centred in (True, False):
        for gain in (weight, 1 + weight):
            parts = NormParts(gain, bias, is_centred, epsilon)
            told = (parts.linear(probe, parts.scale(probe)) + bias).float()
            tolerance = FORM_TOLERANCE if weight.dtype == torch.float32 else 1e-2
            if bool((told - seen).abs().max() <= tolerance * seen.abs().max().clamp(min=1e-12)):
                return parts
    return None
