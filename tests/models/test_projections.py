from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.pytorch_utils import Conv1D

from mechscope.core import UsageError
from mechscope.models.projections import input_width, projection_bias, projection_matrix, read_norm


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
    with pytest.raises(UsageError, match="ReLU is not a dense"):
        projection_matrix(nn.ReLU())
    with pytest.raises(UsageError, match="Embedding is no linear map"):
        projection_matrix(nn.Embedding(3, 4))
    assert input_width(nn.ReLU()) is None


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
