from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.pytorch_utils import Conv1D

from mechscope.core import UsageError
from mechscope.models.projections import (
    input_width,
    projection_bias,
    projection_matrix,
    read_norm,
    require_linear,
    why_unreadable,
)


def perturbed(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("module", [nn.Linear(3, 5), Conv1D(5, 3), nn.Linear(3, 5, bias=False)])
def test_a_linear_module_is_x_times_its_matrix_plus_its_bias(module: nn.Module) -> None:
    x = torch.randn(4, 3)
    with torch.no_grad():
        torch.testing.assert_close(x @ projection_matrix(perturbed(module)) + projection_bias(module), module(x))
    assert input_width(module) == 3


def test_other_modules_cannot_be_read() -> None:
    with pytest.raises(UsageError, match=r"ReLU cannot be read: it is a torch\.nn\.modules\.activation\.ReLU, no nn"):
        projection_matrix(nn.ReLU())
    with pytest.raises(UsageError, match=r"Embedding cannot be read: it is a torch\.nn\.modules\.sparse"):
        projection_matrix(nn.Embedding(3, 4))
    assert input_width(nn.ReLU()) is None
    module = nn.Linear(2, 3)
    module.weight = nn.Parameter(torch.ones(6))
    assert why_unreadable(module) == "they are no dense matrix"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8])
def test_quantised_weights_are_no_dense_matrix(dtype: torch.dtype) -> None:
    module = nn.Linear(3, 5)
    module.weight = nn.Parameter(module.weight.detach().to(dtype), requires_grad=False)
    with pytest.raises(UsageError, match=rf"a Linear cannot be read: they are quantised \({dtype}\)") as caught:
        projection_matrix(module)
    assert "bfloat16" in caught.value.expected
    assert input_width(module) is None
    norm = nn.LayerNorm(4)
    norm.weight = nn.Parameter(norm.weight.detach().to(dtype), requires_grad=False)
    assert read_norm(norm) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_four_dtypes_of_models_are_dense(dtype: torch.dtype) -> None:
    module = perturbed(nn.Linear(30, 50)).to(dtype)
    assert projection_matrix(module).dtype == dtype
    require_linear(module)


class Halved(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input) * 0.5


class Paired(nn.Linear):
    def forward(self, input: Tensor, other: Tensor) -> Tensor:  # type: ignore[override]  # noqa: A002
        return super().forward(input) + other


def test_a_linear_module_that_does_more_than_its_weights_say_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a Halved whose output is not x W \+ b: it is off by 5\.0e-01"):
        require_linear(perturbed(Halved(6, 5, bias=False)))
    with pytest.raises(UsageError, match=r"a Paired that cannot be run by itself: .*'other'"):
        require_linear(Paired(6, 5))


@pytest.mark.parametrize("module", [nn.LayerNorm(6), nn.LayerNorm(6, bias=False), LlamaRMSNorm(6), GemmaRMSNorm(6)])
def test_a_norm_is_linear_at_its_own_scale(module: nn.Module) -> None:
    norm = read_norm(perturbed(module))
    assert norm is not None
    x = torch.randn(2, 6)
    with torch.no_grad():
        torch.testing.assert_close(norm.linear(x, norm.scale(x)) + norm.bias, module(x))
    assert norm.is_centred == isinstance(module, nn.LayerNorm)


class Clipped(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input).clamp(max=0.1)


def test_what_is_no_norm_is_not_taken_for_one() -> None:
    assert read_norm(perturbed(Clipped(6))) is None
    assert read_norm(nn.Linear(3, 3)) is None
    assert read_norm(nn.Identity()) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("make", [nn.LayerNorm, LlamaRMSNorm, GemmaRMSNorm])
def test_norms_are_read_in_every_dtype(dtype: torch.dtype, make: Callable[[int], nn.Module]) -> None:
    """Worked out in bfloat16, the form of one norm in ten was lost to rounding."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(40):
        module = make(512)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn(512, generator=generator))
        norm = read_norm(module.to(dtype))
        assert norm is not None
        assert norm.is_centred == (make is nn.LayerNorm)
        assert norm.offset == (make is GemmaRMSNorm)
        assert norm.weight.dtype == dtype


@pytest.mark.parametrize("module", [nn.LayerNorm(6), LlamaRMSNorm(6), GemmaRMSNorm(6)])
def test_a_form_takes_the_weights_that_a_norm_has_now(module: nn.Module) -> None:
    form = read_norm(perturbed(module))
    assert form is not None
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)
    norm, x = form.reread(module), torch.randn(2, 6)
    with torch.no_grad():
        torch.testing.assert_close(norm.linear(x, norm.scale(x)) + norm.bias, module(x))
