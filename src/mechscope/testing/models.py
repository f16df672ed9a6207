"""Tiny models made on the spot: random weights from a seed, in the folders that real ones come in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

__all__ = ["tiny_language_model", "tiny_tokenizer"]

CONFIGS = {
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM, {"intermediate_size": 64, "max_position_embeddings": 128}),
    "gpt2": (GPT2Config, GPT2LMHeadModel, {"n_positions": 128}),
}


def tiny_tokenizer(texts: Iterable[str], *, d_vocab: int = 300) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts`, with `<|endoftext|>` as its only special token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def tiny_language_model(
    folder: Path, texts: Iterable[str], *, family: str = "gpt_neox", d_model: int = 32, n_layers: int = 2, seed: int = 0
) -> Path:
    """Save a random causal model of the family with its tokenizer to `folder`, and return the folder.

    Args:
        family: "gpt_neox" or "gpt2".
        d_model: width, a multiple of 4 (the number of heads).
    """
    tokenizer = tiny_tokenizer(texts)
    config_type, model_type, more = CONFIGS[family]
    config = config_type(
        vocab_size=len(tokenizer),
        bos_token_id=0,
        eos_token_id=0,
        hidden_size=d_model,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        **more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_type(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
