"""Tiny models with random weights; norm scales and biases are moved off their ones and zeros."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from mechscope.models import Batch, ComponentMap
from mechscope.models.set_transformer import SetTransformerConfig, build_from_config

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


class PlainBlock(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.mix = nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 2 * d_model), nn.Linear(2 * d_model, d_model)
        self.mlp = nn.Sequential(self.up, nn.ReLU(), self.down)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self.norm1(x).cumsum(dim=1))
        found: Tensor = x + self.mlp(self.norm2(x))
        return found


class PlainNet(nn.Module):
    """Somebody's own network: no config, no mask, positional input."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.layers = nn.ModuleList(PlainBlock(8) for _ in range(2))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        for layer in self.layers:
            x = layer(x)
        found: Tensor = self.head(self.norm(x))
        return found


PLAIN_MAP = ComponentMap(
    blocks="layers", embedding="table", final_norm="norm", unembedding="head",
    n_heads=2, attention="mix", attention_projection="mix",
    mlp="mlp", mlp_projection="down", mlp_norm="norm2",
)  # fmt: skip


def set_model() -> nn.Module:
    sizes = SetTransformerConfig(d_vocab=20, n_weapons=5, d_model=16, d_mlp=24, n_inducing=4, pad_token_id=19)
    return build_from_config(sizes)


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_embd=32, n_layer=3, n_head=4, n_positions=24, bos_token_id=0, eos_token_id=0)
    ),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)),
    "gpt_neox_sequential": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, use_parallel_residual=False)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, head_dim=12)),
    "bert": lambda: BertForMaskedLM(BertConfig(**SIZES)),
    "set": set_model,
}


def build(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        module = PlainNet() if name == "plain" else BUILDERS[name]()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.1))
    return module.eval()


@pytest.fixture(params=[*BUILDERS])
def family_module(request: pytest.FixtureRequest) -> nn.Module:
    """Each family in turn."""
    return build(request.param)


@pytest.fixture
def bare() -> Callable[[str], nn.Module]:
    """A fresh tiny module by name."""
    return build


@pytest.fixture
def plain_map() -> ComponentMap:
    return PLAIN_MAP


@pytest.fixture
def rows() -> Callable[..., Batch]:
    """Two rows of random tokens below 11; `lengths` other than equal ones need padding on `side`."""

    def make(module: nn.Module, lengths: tuple[int, ...] = (6, 6), side: str = "right") -> Batch:
        generator = torch.Generator().manual_seed(5)
        tokens = [torch.randint(1, 11, (length,), generator=generator).tolist() for length in lengths]
        batch = Batch.from_rows(tokens, side="left" if side == "left" else "right")
        if type(module).__name__ != "SetTransformer":
            return batch
        return Batch(batch.input_ids, batch.attention_mask, {"weapon_ids": torch.arange(len(lengths)) % 5})

    return make
