"""Reading the linear parts of a network: output projections and norms.

A norm is taken as (x - mean x) * w / s(x) + b or x * w / s(x) + b with s the standard deviation or the root mean
square. Which of the forms a module follows (and whether it stores w or w - 1) is measured, not looked up by name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechscope.core import UsageError
from mechscope.core.hugging_face import is_transformers_conv1d

__all__ = [
    "NormParts",
    "as_input_of",
    "follows_form",
    "input_width",
    "projection_bias",
    "projection_matrix",
    "read_norm",
    "require_linear",
    "why_unreadable",
]

DENSE = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
EXACT = (torch.float64, torch.float32)
FORM_TOLERANCE, ROUGH_FORM_TOLERANCE = 1e-4, 1e-2  # of exact dtypes, and of those that round at every step


@dataclass(frozen=True, eq=False)
class NormParts:
    """A norm as a linear map at a given scale: `(x - mean x if centred) * weight / scale + bias`.

    `offset` is what the norm adds to the weight that it stores (1 in Gemma's).
    """

    weight: Float[Tensor, "d_model"]
    bias: Float[Tensor, "d_model"] | float
    is_centred: bool
    epsilon: float
    offset: int = 0

    def reread(self, module: nn.Module) -> NormParts:
        """The same form with the weights that a norm of this form has now. The norm is not run."""
        weight: Tensor = module.weight  # type: ignore[assignment]
        return replace(self, weight=weight + self.offset if self.offset else weight, bias=projection_bias(module))

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
    if (why := why_unreadable(module)) is not None:
        raise UsageError(
            f"the weights of a {type(module).__name__} cannot be read: {why}",
            expected="nn.Linear or Conv1D with weights in float64, float32, float16 or bfloat16",
            todo="open the model without quantisation, correct the map, or leave what needs these weights",
        )
    weight: Tensor = module.weight  # type: ignore[assignment]
    return weight if is_transformers_conv1d(module) else weight.T


def why_unreadable(module: nn.Module) -> str | None:
    """Why the weight is no dense matrix of numbers as they are meant; None when it is one."""
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and weight.dtype not in DENSE:
        return f"they are quantised ({weight.dtype})"
    if not isinstance(module, nn.Linear) and not is_transformers_conv1d(module):
        return f"it is a {type(module).__module__}.{type(module).__name__}, no nn.Linear or Conv1D"
    return None if isinstance(weight, Tensor) and weight.ndim == 2 else "they are no dense matrix"


@torch.no_grad()
def require_linear(module: nn.Module) -> None:
    """Refuse a linear module whose output is not `x W + b` (a subclass with a scale of its own). One short forward.

    Raises:
        UsageError: as `projection_matrix`, or the relative error of `x W + b`.
    """
    matrix, bias = projection_matrix(module), projection_bias(module)
    probe = torch.linspace(-1.0, 2.0, matrix.shape[0], device=matrix.device).square().to(matrix.dtype)[None]
    try:
        seen = module(probe).float()
    except (RuntimeError, TypeError) as fault:
        raise UsageError(
            f"a {type(module).__name__} that cannot be run by itself: {' '.join(str(fault).split()):.200}",
            expected="a linear module that takes one tensor",
            todo="measure the effect with an edit instead",
        ) from fault
    told = (probe @ matrix + bias).float()
    error = float((seen - told).abs().max() / told.abs().max().clamp(min=torch.finfo(torch.float32).tiny))
    if not error <= _tolerance_of(matrix.dtype):
        raise UsageError(
            f"a {type(module).__name__} whose output is not x W + b: it is off by {error:.1e} of the largest value",
            expected="a module that does what its weight and bias say",
            todo="fold what it does besides into its weight, or measure the effect with an edit instead",
        )


def input_width(module: nn.Module) -> int | None:
    """Width of a linear module's input, or None when its weights cannot be read."""
    return None if why_unreadable(module) is not None else projection_matrix(module).shape[0]


def as_input_of(module: nn.Module, x: Tensor) -> Tensor:
    """`x` in the dtype of a linear module's weights: some networks keep their stream in float32 (Mamba in bfloat16)."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dtype not in DENSE or x.dtype not in DENSE:
        return x
    return x.to(weight.dtype)


def projection_bias(module: nn.Module) -> Tensor | float:
    """The bias of a linear module, 0.0 when it has none."""
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else 0.0


@torch.no_grad()
def read_norm(module: nn.Module) -> NormParts | None:
    """The norm as a linear map at a given scale, or None when the module follows no known form."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 1 or weight.dtype not in DENSE:
        return None
    bias = projection_bias(module)
    names = ("eps", "variance_epsilon", "epsilon")
    epsilon = next((float(getattr(module, name)) for name in names if hasattr(module, name)), 0.0)
    probe = torch.linspace(-1.0, 2.0, weight.shape[0], device=weight.device).square().to(weight.dtype)
    for is_centred in (True, False):
        for offset in (0, 1):
            parts = NormParts(weight + offset, bias, is_centred, epsilon, offset)
            if follows_form(module, parts, probe):
                return parts.reread(module)
    return None


def follows_form(module: nn.Module, parts: NormParts, x: Float[Tensor, "... d_model"]) -> bool:
    """Whether a norm gives at `x` what its parts say; float32 at least, as bfloat16 would round more than the norm."""
    exact = torch.promote_types(x.dtype, torch.float32)
    seen, wide = module(x).to(exact), x.to(exact)
    told = parts.linear(wide, parts.scale(wide)) + parts.bias
    return bool((told - seen).abs().max() <= _tolerance_of(x.dtype) * seen.abs().max().clamp(min=1e-12))


def _tolerance_of(dtype: torch.dtype) -> float:
    return FORM_TOLERANCE if dtype in EXACT else ROUGH_FORM_TOLERANCE
