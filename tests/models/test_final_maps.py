"""What lies before the unembedding, read from modules of each form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mechscope.models.final_maps import LinearParts, read_final_map
from mechscope.models.projections import NormParts


class Weightless(nn.Module):
    """A norm without weights, centred or not, with an epsilon that no attribute tells."""

    def __init__(self, *, is_centred: bool, hidden: float) -> None:
        super().__init__()
        self._is_centred, self._hidden = is_centred, hidden

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(dim=-1, keepdim=True) if self._is_centred else x
        return x / (x.square().mean(dim=-1, keepdim=True) + self._hidden).sqrt()


@pytest.mark.parametrize("is_centred", [True, False])
@pytest.mark.parametrize("hidden", [1e-5, 1e-3, 0.0])
def test_norms_without_weights(is_centred: bool, hidden: float) -> None:
    parts = read_final_map(Weightless(is_centred=is_centred, hidden=hidden), like=torch.zeros(9))
    assert isinstance(parts, NormParts)
    assert parts.is_centred == is_centred
    assert parts.epsilon == pytest.approx(hidden, rel=1e-4, abs=1e-11)


def test_linear_maps_and_norms() -> None:
    linear = nn.Linear(9, 4)
    parts = read_final_map(linear, like=torch.zeros(9))
    assert isinstance(parts, LinearParts)
    x = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x @ parts.matrix + parts.bias, linear(x).detach())
    assert isinstance(read_final_map(nn.LayerNorm(9), like=torch.zeros(9)), NormParts)


@pytest.mark.parametrize("module", [nn.Tanh(), nn.Softmax(dim=-1), nn.Sequential(nn.Linear(9, 9), nn.LayerNorm(9))])
def test_what_is_not_linear(module: nn.Module) -> None:
    assert read_final_map(module, like=torch.zeros(9)) is None
