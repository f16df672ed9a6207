"""Somebody's own module that does not run as its map says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import NotFoundError, UsageError
from mechscope.models import Batch, ComponentMap, Model, model
from mechscope.testing.zoo import DECODERS

MAP = ComponentMap(blocks="layers", embedding="table", mlp="mlp", mlp_projection="mlp", unembedding="head")
VALUES = ComponentMap(blocks="layers", mlp="mlp", unembedding="head", value_inputs={"x": (8,)})


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.mlp(x)
        return found


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.layers = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(8, 11)

    def through(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        found: Tensor = self.head(x)
        return found


class Tokens(Base):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.through(self.table(tokens))


class WithoutGradients(Base):
    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        return self.through(self.table(tokens))


class Inference(Base):
    @torch.inference_mode()
    def forward(self, tokens: Tensor) -> Tensor:
        return self.through(self.table(tokens))


class Demanding(Base):
    def forward(self, tokens: Tensor, weights: Tensor) -> Tensor:
        return self.through(self.table(tokens) * weights)


class Values(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.through(x)


@pytest.mark.parametrize("build", [WithoutGradients, Inference])
@pytest.mark.parametrize("verify", [True, False])
def test_a_forward_without_gradients_is_refused(build: type[nn.Module], verify: bool) -> None:
    with pytest.raises(UsageError, match=rf"(?s){build.__name__} runs its blocks without gradients.*torch\.no_grad"):
        Model.open(build(), component_map=MAP, verify=verify)


def test_frozen_weights_and_a_caller_without_gradients_are_no_fault() -> None:
    with torch.no_grad():
        assert Model.open(Tokens().requires_grad_(False), component_map=MAP).verification.failed == {}
    module = Tokens()
    with torch.inference_mode():
        assert Model.open(module, component_map=MAP).verification.failed == {}


def test_a_forward_that_raises_is_told_with_what_it_was_given() -> None:
    with pytest.raises(UsageError, match=r"Demanding in torch\.float32 raises TypeError: .*'weights'") as caught:
        Model.open(Demanding(), component_map=MAP)
    assert caught.value.expected == "a forward that takes token ids [2, 5]"
    with pytest.raises(
        UsageError, match=r"Values in torch\.float32 raises RuntimeError: mat1 and mat2 shapes .*2x5 and 8x8"
    ) as caught:
        Model.open(Values(), component_map=VALUES.updated(value_inputs={"x": (5,)}))
    assert caught.value.expected == "a forward that takes x [2, 5]"
    assert "'value_inputs'" in caught.value.todo


def test_every_path_at_the_ends_is_looked_up() -> None:
    with pytest.raises(NotFoundError, match=r"(?s)module path 'heads'.*did you mean 'head'\? Or correct 'unembedding'"):
        Model.open(Tokens(), component_map=MAP.updated(unembedding="heads"))


def test_the_trial_leaves_nothing_behind() -> None:
    module = Tokens()
    model = Model.open(module, component_map=MAP)
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())
    batch = Batch.from_rows([[1, 2, 3]])
    with torch.no_grad():
        assert torch.equal(model.logits(batch), module(batch.input_ids))


def test_a_known_family_that_does_not_run_says_why() -> None:
    module = DECODERS["gpt2"]()
    module.get_submodule("transformer.h.1.mlp.c_fc").bfloat16()
    with pytest.raises(UsageError, match=r"forward of GPT2LMHeadModel in torch\.float32 raises RuntimeError") as caught:
        Model.open(module)
    assert "input_ids [2, 5]" in caught.value.expected
    assert "another dtype" in caught.value.todo


def test_a_fault_that_is_not_the_forwards_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("of our own")

    monkeypatch.setattr(model, "verified", fail)
    with pytest.raises(RuntimeError, match="of our own"):
        Model.open(DECODERS["gpt2"]())
