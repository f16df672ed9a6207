"""Heads and neurons of every decoder family against bare modules: what they put out, cut as their own code does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent
from mechscope.models import Batch, Model
from mechscope.testing.zoo import DECODERS

TOLERANCE = 1e-5
Outputs = Mapping[str, Tensor]
Cut = Callable[[Outputs, Any], list[Tensor]]


@dataclass(frozen=True)
class Facts:
    """What these tests know of a family apart from its map; paths in a block.

    `qkv` and `cut` give q, k, v as [batch pos heads d_head]; `up` puts out what the activation takes, in its first
    half when `is_gate_first_half`; `down` takes the neurons.
    """

    blocks: str
    projection: str
    qkv: tuple[str, ...]
    cut: Cut
    up: str | None = None
    down: str | None = None
    is_gate_first_half: bool = False


def d_head_of(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def in_heads(joined: Tensor, n_heads: int) -> Tensor:
    """[... n_heads * d_head] as [... n_heads d_head]."""
    return joined.reshape(*joined.shape[:-1], n_heads, joined.shape[-1] // n_heads)


def three(outputs: Outputs, config: Any) -> list[Tensor]:
    """Three projections, in the order q, k, v."""
    return [in_heads(part, part.shape[-1] // d_head_of(config)) for part in outputs.values()]


def thirds(outputs: Outputs, config: Any) -> list[Tensor]:
    """One projection, split in three."""
    (fused,) = outputs.values()
    return [in_heads(part, config.num_attention_heads) for part in fused.chunk(3, dim=2)]


def thirds_of_heads(outputs: Outputs, config: Any) -> list[Tensor]:
    """One projection; every head has its q, k, v."""
    (fused,) = outputs.values()
    batch, pos, width = fused.shape
    per_head = fused.view(batch, pos, config.num_attention_heads, 3, width // config.num_attention_heads // 3)
    return [per_head[..., index, :] for index in range(3)]


def falcon(outputs: Outputs, config: Any) -> list[Tensor]:
    (fused,) = outputs.values()
    batch, pos, _ = fused.shape
    n_heads, d_head = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    if config.new_decoder_architecture:
        groups = fused.view(batch, pos, config.num_kv_heads, n_heads // config.num_kv_heads + 2, d_head)
        return [groups[..., :-2, :].flatten(2, 3), groups[..., -2, :], groups[..., -1, :]]
    if config.multi_query:
        heads = fused.view(batch, pos, n_heads + 2, d_head)
        return [heads[:, :, :-2], heads[:, :, -2:-1], heads[:, :, -1:]]
    return thirds_of_heads(outputs, config)


def phi3(outputs: Outputs, config: Any) -> list[Tensor]:
    (fused,) = outputs.values()
    counts = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
    parts = torch.split(fused, [count * d_head_of(config) for count in counts], dim=-1)
    return [in_heads(part, count) for part, count in zip(parts, counts, strict=True)]


def latent(outputs: Outputs, config: Any) -> list[Tensor]:
    query, both = (in_heads(part.squeeze(1), config.num_attention_heads) for part in outputs.values())
    keys, values = torch.split(both, [config.qk_nope_head_dim, config.v_head_dim], dim=-1)
    return [query, keys, values]


def projections(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}_proj" for name in "qkv")


def llama(projection: str = "o_proj", up: str | None = "gate_proj", down: str | None = "down_proj") -> Facts:
    path = f"self_attn.{projection}"
    return Facts("model.layers", path, projections("self_attn"), three, up and f"mlp.{up}", down and f"mlp.{down}")


H4 = ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
FUSED = ("self_attention.query_key_value",)
LATENT = Facts("model.layers", "self_attn.o_proj", ("self_attn.q_b_proj", "self_attn.kv_b_proj"), latent)
LLAMA_LIKE = [
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "olmo",
    "stablelm",
    "cohere",
    "granite",
]
FACTS: dict[str, Facts] = {
    **dict.fromkeys(LLAMA_LIKE, llama()),
    "mixtral": llama(up=None, down=None),
    "olmo2": replace(llama(), qkv=("self_attn.q_norm", "self_attn.k_norm", "self_attn.v_proj")),
    "phi": llama("dense", "fc1", "fc2"),
    "starcoder2": llama("o_proj", "c_fc", "c_proj"),
    "phi3": Facts(
        "model.layers", "self_attn.o_proj", ("self_attn.qkv_proj",), phi3, "mlp.gate_up_proj", "mlp.down_proj", True
    ),
    "gpt2": Facts("transformer.h", "attn.c_proj", ("attn.c_attn",), thirds, "mlp.c_fc", "mlp.c_proj"),
    "gpt_neo": Facts(
        "transformer.h", "attn.attention.out_proj", projections("attn.attention"), three, "mlp.c_fc", "mlp.c_proj"
    ),
    "gptj": Facts("transformer.h", "attn.out_proj", projections("attn"), three, "mlp.fc_in", "mlp.fc_out"),
    "gpt_neox": Facts("gpt_neox.layers", "attention.dense", ("attention.query_key_value",), thirds_of_heads, *H4),
    "falcon": Facts("transformer.h", "self_attention.dense", FUSED, falcon, *H4),
    "bloom": Facts("transformer.h", "self_attention.dense", FUSED, thirds_of_heads, *H4),
    "opt": Facts("model.decoder.layers", "self_attn.out_proj", projections("self_attn"), three, "fc1", "fc2"),
    "mpt": Facts("transformer.blocks", "attn.out_proj", ("attn.Wqkv",), thirds, "ffn.up_proj", "ffn.down_proj"),
    "deepseek_v2": LATENT,
    "deepseek_v2-q_proj": Facts(
        "model.layers", "self_attn.o_proj", ("self_attn.q_proj", "self_attn.kv_b_proj"), latent
    ),
    "deepseek_v3": LATENT,
}
NO_KEYS = tuple(name for name in DECODERS if name.startswith("deepseek"))
every_decoder = pytest.mark.parametrize("name", [*DECODERS])
every_with_patterns = pytest.mark.parametrize("name", [name for name in DECODERS if name != "falcon-alibi"])


def facts_of(name: str) -> Facts:
    return FACTS.get(name) or FACTS[name.partition("-")[0]]


@cache
def opened(name: str) -> Model:
    return Model.open(DECODERS[name]())


def some_batch() -> Batch:
    ids = torch.randint(1, 61, (2, 7), generator=torch.Generator().manual_seed(3))
    return Batch(ids, torch.ones_like(ids))


def at(kind: str, layer: int) -> LayerComponent:
    return LayerComponent(kind=kind, layer=layer)


def seen_by_hooks(module: nn.Module, paths: list[str], *, at_input: bool = False) -> dict[str, Tensor]:
    """What modules of a bare model put out (or take), in the order of the paths."""
    seen: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            seen[path] = (args[0] if at_input else output).clone()

        return hook

    for path in paths:
        module.get_submodule(path).register_forward_hook(keep(path))
    with torch.no_grad():
        module(some_batch().input_ids)
    return {path: seen[path] for path in paths}


def error_of(seen: Tensor, told: Tensor) -> float:
    assert seen.shape == told.shape
    return float((seen - told).abs().max() / told.abs().max())


@every_decoder
def test_queries_keys_and_values_are_what_the_projections_put_out(name: str) -> None:
    model, facts, bare = opened(name), facts_of(name), DECODERS[name]()
    for layer in range(model.n_layers):
        outputs = seen_by_hooks(bare, [f"{facts.blocks}.{layer}.{path}" for path in facts.qkv])
        told = dict(zip("qkv", facts.cut(outputs, bare.config), strict=True))
        for kind in "qv" if name in NO_KEYS else "qkv":
            seen = model.capture(some_batch(), [at(kind, layer)]).values[at(kind, layer)]
            assert seen.shape == told[kind].shape
            assert torch.equal(seen, told[kind])


@every_decoder
def test_neurons_are_what_the_down_projection_takes(name: str) -> None:
    model, facts, bare = opened(name), facts_of(name), DECODERS[name]()
    if facts.up is None or facts.down is None:
        assert not {"mlp_pre:1", "mlp_post:1"} & {str(site) for site in model.sites()}
        return
    pre = seen_by_hooks(bare, [path := f"{facts.blocks}.1.{facts.up}"])[path]
    pre = pre.chunk(2, dim=-1)[0] if facts.is_gate_first_half else pre
    post = seen_by_hooks(bare, [path := f"{facts.blocks}.1.{facts.down}"], at_input=True)[path]
    seen = model.capture(some_batch(), [at("mlp_pre", 1), at("mlp_post", 1)]).values
    for kind, told in {"mlp_pre": pre, "mlp_post": post}.items():
        assert torch.equal(seen[at(kind, 1)], told.reshape(2, 7, -1))


@every_decoder
def test_heads_are_shares_of_what_attention_adds(name: str) -> None:
    model, facts, bare = opened(name), facts_of(name), DECODERS[name]()
    for layer in range(model.n_layers):
        path = f"{facts.blocks}.{layer}.{facts.projection}"
        taken = seen_by_hooks(bare, [path], at_input=True)[path]
        given = seen_by_hooks(DECODERS[name](), [path])[path]
        sites = [at(kind, layer) for kind in ("z", "head_out", "attn_out", "resid_pre")]
        z, shares, added, stream = model.capture(some_batch(), sites).values.values()
        assert torch.equal(z, in_heads(taken, 4))
        projection = bare.get_submodule(path)
        with torch.no_grad():
            nothing = projection(torch.zeros_like(taken))
            alone = torch.stack([projection(only(taken, head)) - nothing for head in range(4)], dim=-2)
            told, rest = through_norm(bare, name, layer, alone, given, stream, nothing)
        assert error_of(shares, told) < TOLERANCE
        assert error_of(shares.sum(dim=-2) + rest, added) < TOLERANCE


def only(joined: Tensor, head: int) -> Tensor:
    """The joined heads [... n_heads * d_head] with all but one put to zero."""
    heads = torch.zeros_like(joined)
    in_heads(heads, 4)[..., head, :] = in_heads(joined, 4)[..., head, :]
    return heads


def through_norm(
    bare: nn.Module, name: str, layer: int, alone: Tensor, given: Tensor, stream: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """The heads' shares of what attention adds, and what it adds besides; by each family's own formula."""
    config: Any = bare.config
    block: Any = bare.get_submodule(f"{facts_of(name).blocks}.{layer}")
    if config.model_type in {"gemma2", "gemma3_text", "olmo2"}:
        norm = block.post_attention_layernorm
        gain = norm.weight if config.model_type == "olmo2" else 1 + norm.weight
        rms = (given.square().mean(dim=-1, keepdim=True) + config.rms_norm_eps).sqrt()
        return alone * gain / rms.unsqueeze(-2), bias * gain / rms
    if name == "opt-norm_after":
        norm = block.self_attn_layer_norm
        deviation = ((given + stream).var(dim=-1, correction=0, keepdim=True) + norm.eps).sqrt()
        shares, rest = (part - part.mean(dim=-1, keepdim=True) for part in (alone, stream + bias))
        return shares * norm.weight / deviation.unsqueeze(-2), rest * norm.weight / deviation + norm.bias - stream
    factor = getattr(config, "residual_multiplier", 1.0)
    return alone * factor, bias * factor


@every_with_patterns
def test_patterns_are_the_attentions_that_the_model_returns(name: str) -> None:
    model = opened(name)
    with torch.no_grad():
        told = eager_twin(DECODERS[name]())(some_batch().input_ids, output_attentions=True).attentions
    assert len(told) == model.n_layers
    seen = model.capture(some_batch(), [at("pattern", layer) for layer in range(model.n_layers)]).values
    for layer, pattern in enumerate(told):
        assert error_of(seen[at("pattern", layer)], pattern) < TOLERANCE
        assert not pattern.triu(1).any()


def eager_twin(bare: nn.Module) -> nn.Module:
    """The same model built for eager attention: some families (Falcon) cannot be switched, and say so only in a log."""
    config: Any = copy.deepcopy(bare.config)
    config._attn_implementation = "eager"
    twin: nn.Module = type(bare)(config).eval()
    twin.load_state_dict(bare.state_dict())
    return twin


@every_with_patterns
def test_values_weighted_by_the_pattern_are_z(name: str) -> None:
    model = opened(name)
    for layer in range(model.n_layers):
        pattern, values, z = model.capture(
            some_batch(), [at(kind, layer) for kind in ("pattern", "v", "z")]
        ).values.values()
        if (limit := clip_of(model.module.config)) is not None:
            assert values.abs().max() > limit, "the clip does not bite"
            values = values.clamp(-limit, limit)
        values = values.repeat_interleave(4 // values.shape[-2], dim=-2)
        told = torch.einsum("bhqk,bkhd->bqhd", pattern, values)
        assert error_of(z, told) < TOLERANCE


def clip_of(config: Any) -> float | None:
    """The bound to which some families clip q, k and v behind their projections."""
    limit: float | None = getattr(config, "clip_qkv", None) or getattr(
        getattr(config, "attn_config", None), "clip_qkv", None
    )
    return limit
