"""The networks that every peer loads, and the inputs that every peer gets: random, by seed, the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

__all__ = ["SUBJECTS", "Cell", "Inputs", "Subject", "load", "parts", "save"]

NO_SPECIAL_TOKENS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


@dataclass(frozen=True)
class Subject:
    """One architecture: its config, and where its parts are below the base model."""

    name: str
    title: str
    config: Any
    blocks: str
    attention: str
    projection: str
    n_layers: int
    n_heads: int
    d_model: int
    d_vocab: int

    @property
    def middle(self) -> int:
        return self.n_layers // 2


SUBJECTS = {
    "gpt2": Subject(
        name="gpt2",
        title="GPT-2 small (12 layers, 768)",
        config=GPT2Config(**NO_SPECIAL_TOKENS),
        blocks="h",
        attention="attn",
        projection="attn.c_proj",
        n_layers=12,
        n_heads=12,
        d_model=768,
        d_vocab=50257,
    ),
    "neox": Subject(
        name="neox",
        title="Pythia-70m size GPT-NeoX (6 layers, 512)",
        config=GPTNeoXConfig(
            vocab_size=50304,
            hidden_size=512,
            num_hidden_layers=6,
            num_attention_heads=8,
            intermediate_size=2048,
            max_position_embeddings=2048,
            **NO_SPECIAL_TOKENS,
        ),
        blocks="layers",
        attention="attention",
        projection="attention.dense",
        n_layers=6,
        n_heads=8,
        d_model=512,
        d_vocab=50304,
    ),
    "llama": Subject(
        name="llama",
        title="small Llama (6 layers, 512, 8 heads over 4 keys)",
        config=LlamaConfig(
            vocab_size=32000,
            hidden_size=512,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            intermediate_size=1408,
            max_position_embeddings=2048,
            **NO_SPECIAL_TOKENS,
        ),
        blocks="layers",
        attention="self_attn",
        projection="self_attn.o_proj",
        n_layers=6,
        n_heads=8,
        d_model=512,
        d_vocab=32000,
    ),
}


@dataclass(frozen=True)
class Cell:
    """One patch: the stream before block `layer` at a position, or one head's z there at the last position."""

    kind: str  # "resid" or "head"
    layer: int
    index: int


@dataclass(frozen=True)
class Inputs:
    """Everything that goes into a network, made from one seed."""

    subject: Subject
    is_quick: bool = False

    @cached_property
    def batch(self) -> Tensor:
        return self._tokens(1, *((4, 32) if self.is_quick else (16, 128)))

    @cached_property
    def short(self) -> Tensor:
        """For the comparison of values."""
        return self._tokens(2, 2, 24)

    @cached_property
    def clean(self) -> Tensor:
        return self._tokens(3, 1, 15)

    @cached_property
    def corrupt(self) -> Tensor:
        return self._tokens(4, 1, 15)

    @cached_property
    def prompts(self) -> Tensor:
        return self._tokens(5, 4, 16)

    @property
    def n_new(self) -> int:
        return 8 if self.is_quick else 32

    @cached_property
    def steering(self) -> Tensor:
        return torch.randn(self.subject.d_model, generator=torch.Generator().manual_seed(6))

    @cached_property
    def cells(self) -> list[Cell]:
        found = []
        for layer in range(self.subject.n_layers):
            found += [Cell("resid", layer, position) for position in range(self.clean.shape[1])]
            found += [Cell("head", layer, head) for head in range(self.subject.n_heads)]
        return found

    @cached_property
    def sample(self) -> list[int]:
        """The cells that idioms of one forward a cell are timed on: spread over layers, positions and heads."""
        return list(range(0, len(self.cells), 31 if self.is_quick else 7))

    def _tokens(self, seed: int, n_rows: int, n_tokens: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.subject.d_vocab, (n_rows, n_tokens), generator=generator)


def save(subject: Subject, folder: Path) -> Path:
    """Make the network once; a folder that is complete is kept."""
    done = folder / "tokenizer.json"
    if done.exists():
        return folder
    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(subject.config)
    with torch.no_grad():  # norms and biases start as ones and zeros, which would hide a peer that leaves them out
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    module.generation_config.eos_token_id = None
    module.save_pretrained(folder)
    words = {f"w{index}": index for index in range(subject.d_vocab)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="w0").save_pretrained(folder)
    return folder


def load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def parts(subject: Subject, module: PreTrainedModel) -> list[nn.Module]:
    """The blocks."""
    return list(getattr(module.base_model, subject.blocks))
