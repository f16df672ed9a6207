"""Streams, patterns, queries, keys, values and MLP inputs of the same families, held against what transformers shows.

Streams and patterns come from transformers' own `hidden_states` and `attentions`; the rest from plain hooks at modules
that are named here and not in the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mechscope.models import Batch, Model
from mechscope.testing.zoo.others import OTHERS

BERT = ("attention.self.{}", ("query", "key", "value"), "intermediate.intermediate_act_fn")
T5 = ("layer.0.SelfAttention.{}", ("q", "k", "v"), "layer.2.DenseReluDense.act")
T5_ENCODER = (*T5[:2], "layer.1.DenseReluDense.act")
# name -> the path of each stack's blocks: where its projections are, what they are called, and its activation
PARTS = {
    "bert": {"bert.encoder.layer": BERT},
    "roberta": {"roberta.encoder.layer": BERT},
    "electra": {"electra.encoder.layer": BERT},
    "distilbert": {
        "distilbert.transformer.layer": ("attention.{}", ("q_lin", "k_lin", "v_lin"), "ffn.activation"),
    },
    "vit": {"vit.layers": ("attention.{}", ("q_proj", "k_proj", "v_proj"), "mlp.activation_fn")},
    "t5": {"decoder.block": T5, "encoder.block": T5_ENCODER},
    "t5-gated": {"decoder.block": T5, "encoder.block": T5_ENCODER},
}
N_HEADS = 4


@cache
def opened(name: str) -> Model:
    return Model.open(OTHERS[name]())


def batch_for(name: str) -> Batch:
    generator = torch.Generator().manual_seed(3)
    if name == "vit":
        return Batch.from_values({"pixel_values": torch.randn(2, 3, 8, 8, generator=generator)})
    ids = torch.randint(3, 61, (2, 6), generator=generator)
    extra = {"decoder_input_ids": ids.flip(1)[:, :4]} if name.startswith("t5") else {}
    return Batch(ids, torch.ones_like(ids), extra)


@torch.no_grad()
def bare(module: nn.Module, batch: Batch, **more: Any) -> Any:
    tokens = {} if "pixel_values" in batch.extra else {"input_ids": batch.input_ids}
    return module(**tokens, **batch.extra, **more)


def assert_captured(model: Model, batch: Batch, selector: str, told: Sequence[Tensor]) -> None:
    """The sites of the selector hold exactly these tensors, one a block."""
    seen = list(model.capture(batch, model.parse_sites(selector)).values.values())
    assert len(seen) == len(told) > 0
    assert all(torch.equal(*pair) for pair in zip(seen, told, strict=True)), selector


@pytest.mark.parametrize("name", OTHERS)
def test_streams_are_the_hidden_states(name: str) -> None:
    model, batch = opened(name), batch_for(name)
    output = bare(model.module, batch, output_hidden_states=True)
    stacks = {"": output.hidden_states if "hidden_states" in output else output.decoder_hidden_states}
    if name.startswith("t5"):
        stacks["encoder."] = output.encoder_hidden_states
    for stack, states in stacks.items():  # the last ones went through the final norm in some families
        before = states[: model.n_layers if not stack else 3]
        if name == "mamba":  # which shows what each block puts out, and not what goes into the first
            assert_captured(model, batch, "resid_post:*", before)
        else:
            assert_captured(model, batch, f"{stack}resid_pre:*", before)


@pytest.mark.parametrize("name", PARTS)
def test_patterns_are_the_attentions_of_an_eager_run(name: str) -> None:
    model, batch = opened(name), batch_for(name)
    eager = OTHERS[name]()
    eager.set_attn_implementation("eager")
    output = bare(eager, batch, output_attentions=True)
    if not name.startswith("t5"):
        assert_captured(model, batch, "pattern:*", output.attentions)
        return
    assert_captured(model, batch, "encoder.pattern:*", output.encoder_attentions)
    assert_captured(model, batch, "pattern:*", output.decoder_attentions)
    assert_captured(model, batch, "cross_pattern:*", output.cross_attentions)
    assert output.cross_attentions[0].shape == (2, N_HEADS, 4, 6)


def seen_at(module: nn.Module, batch: Batch, blocks: str, path: str, *, inputs: bool = False) -> list[Tensor]:
    """What a module of each block takes in or puts out, by plain hooks."""
    found: list[Tensor] = []
    holder = module.get_submodule(blocks)
    handles = [
        block.get_submodule(path).register_forward_hook(
            lambda module, args, output: found.append(args[0] if inputs else output)
        )
        for block in holder.children()
    ]
    bare(module, batch)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", PARTS)
def test_heads_are_cut_out_of_their_projections_in_order(name: str) -> None:
    model, batch = opened(name), batch_for(name)
    for blocks, (path, projections, _) in PARTS[name].items():
        stack = "encoder." if blocks == "encoder.block" else ""
        for kind, projection in zip("qkv", projections, strict=True):
            told = seen_at(model.module, batch, blocks, path.format(projection))
            heads = [value.view(2, value.shape[1], N_HEADS, -1) for value in told]
            assert_captured(model, batch, f"{stack}{kind}:*", heads)
    if name.startswith("t5"):
        for kind in "qkv":
            told = seen_at(model.module, batch, "decoder.block", f"layer.1.EncDecAttention.{kind}")
            heads = [value.view(2, 4 if kind == "q" else 6, N_HEADS, 6) for value in told]
            assert_captured(model, batch, f"cross_{kind}:*", heads)


@pytest.mark.parametrize("name", PARTS)
def test_what_enters_the_activation_is_mlp_pre(name: str) -> None:
    model, batch = opened(name), batch_for(name)
    for blocks, (_, _, activation) in PARTS[name].items():
        stack = "encoder." if blocks == "encoder.block" else ""
        told = seen_at(model.module, batch, blocks, activation, inputs=True)
        assert_captured(model, batch, f"{stack}mlp_pre:*", told)
