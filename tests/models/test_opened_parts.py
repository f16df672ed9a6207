"""What is replaced or changed in a module after it was opened is seen, or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from mechscope.core import UsageError
from mechscope.models import Batch, Model
from mechscope.testing.zoo import DECODERS

BATCH = Batch.from_rows([[5, 6, 7, 8], [9, 10, 11, 12]])


class LowRank(nn.Module):
    """A wrapper that adds to a linear module and shows its weight as its own, as LoRA's do."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.base(x) + self.up(self.down(x))
        return found


def fresh_like(linear: nn.Linear) -> nn.Module:
    return nn.Linear(linear.in_features, linear.out_features, bias=False).eval()


def sum_error(model: Model) -> float:
    read = model.capture(BATCH, "head_out:1, attn_out:1")
    return float((read["head_out:1"].sum(dim=-2) - read["attn_out:1"]).abs().max() / read["attn_out:1"].abs().max())


def test_a_projection_that_was_replaced_by_its_like_is_read_as_it_is_now() -> None:
    module = DECODERS["llama"]()
    assert isinstance(module, LlamaForCausalLM)
    model = Model.open(module)
    attention = module.model.layers[1].self_attn
    attention.o_proj = fresh_like(attention.o_proj)
    assert sum_error(model) < 1e-5


def test_a_projection_that_was_wrapped_after_opening_is_refused() -> None:
    module = DECODERS["llama"]()
    assert isinstance(module, LlamaForCausalLM)
    model = Model.open(module)
    module.model.layers[1].self_attn.o_proj = LowRank(module.model.layers[1].self_attn.o_proj).eval()
    with pytest.raises(UsageError, match=r"o_proj' is a LowRank, and was a Linear when") as caught:
        model.capture(BATCH, "head_out:1")
    assert "Model.open(model.module)" in caught.value.todo
    assert sum_error(Model.open(DECODERS["llama"]())) < 1e-5
    assert model.capture(BATCH, "z:1, head_out:0").values.keys() == set(model.parse_sites("z:1, head_out:0"))
    assert "head_out:1" in Model.open(module).verification.failed


@pytest.mark.parametrize(
    "change", [lambda norm: norm.weight.mul_(3), lambda norm: norm.register_parameter("weight", longer(norm.weight))]
)
def test_the_norm_behind_an_attention_is_read_as_it_is_now(change: Callable[[nn.Module], object]) -> None:
    module = DECODERS["gemma2"]()
    model = Model.open(module)
    with torch.no_grad():
        change(module.get_submodule("model.layers.1.post_attention_layernorm"))
    assert sum_error(model) < 1e-5


def longer(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach() * 2 + 1)
