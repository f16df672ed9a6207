"""Tiny decoder-only language models of every family with a file, and of every variant that changes their layout.

Width 32, 4 heads, 2 or 3 blocks, at most 24 positions; grouped heads, a head's width other than width / heads, biases,
soft caps and scales wherever a family allows them. Weights are random and perturbed (see `perturbing`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from mechscope.testing.zoo.perturbing import build_perturbed

__all__ = ["DECODERS", "N_IDS", "N_POSITIONS"]

N_IDS = 61
N_POSITIONS = 24
IDS: dict[str, Any] = {"vocab_size": N_IDS, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
OPENAI = {**IDS, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": N_POSITIONS}
WIDE = {**IDS, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
PLAIN = {**WIDE, "intermediate_size": 48, "max_position_embeddings": N_POSITIONS}
GROUPED = {**PLAIN, "num_key_value_heads": 2}
NARROW_HEADS = {**GROUPED, "head_dim": 6}
WIDE_HEADS = {**GROUPED, "head_dim": 12}
CAPPED = {**WIDE_HEADS, "query_pre_attn_scalar": 12, "final_logit_softcapping": 2.0, "sliding_window": 3}
FALCON = {**WIDE, "max_position_embeddings": N_POSITIONS, "ffn_hidden_size": 48}
OPT = {**WIDE, "ffn_dim": 48, "max_position_embeddings": N_POSITIONS}
LATENT = {
    **PLAIN,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "kv_lora_rank": 10,
    "q_lora_rank": 14,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 5,
    "moe_intermediate_size": 20,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", OPENAI),
    "gpt_neo": (
        "gpt_neo",
        {
            **IDS,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
            "max_position_embeddings": N_POSITIONS,
        },
    ),
    "gptj": ("gptj", {**OPENAI, "rotary_dim": 4}),
    "gpt_neox": ("gpt_neox", PLAIN),
    "gpt_neox-sequential": ("gpt_neox", {**PLAIN, "use_parallel_residual": False}),
    "llama": ("llama", WIDE_HEADS),
    "llama-biases": ("llama", {**GROUPED, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "mistral": ("mistral", {**NARROW_HEADS, "sliding_window": 3}),
    "mixtral": (
        "mixtral",
        {**WIDE_HEADS, "num_hidden_layers": 2, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "qwen2": ("qwen2", {**GROUPED, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}),
    "qwen3": ("qwen3", WIDE_HEADS),
    "gemma": ("gemma", WIDE_HEADS),
    "gemma2": ("gemma2", {**CAPPED, "attn_logit_softcapping": 1.5}),
    "gemma3_text": (
        "gemma3_text",
        {**CAPPED, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "olmo": ("olmo", GROUPED),
    "olmo-clipped": ("olmo", {**GROUPED, "clip_qkv": 0.5}),
    "olmo2": ("olmo2", {**GROUPED, "attention_bias": True}),
    "phi": ("phi", GROUPED),
    "phi-qk_layernorm": ("phi", {**PLAIN, "qk_layernorm": True}),
    "phi3": ("phi3", {**WIDE_HEADS, "sliding_window": 3}),
    "falcon": ("falcon", {**FALCON, "multi_query": True, "parallel_attn": True}),
    "falcon-new": ("falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}),
    "falcon-new-one_norm": (
        "falcon",
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    ),
    "falcon-alibi": (
        "falcon",
        {**FALCON, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
    ),
    "falcon-heads": ("falcon", {**FALCON, "multi_query": False, "parallel_attn": True}),
    "bloom": ("bloom", {**IDS, "hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "opt": ("opt", OPT),
    "opt-norm_after": ("opt", {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 20}),
    "mpt": ("mpt", {**IDS, "d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": N_POSITIONS}),
    "mpt-clipped": (
        "mpt",
        {**IDS, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 24, "attn_config": {"clip_qkv": 0.5}},
    ),
    "stablelm": ("stablelm", {**GROUPED, "qk_layernorm": True}),
    "stablelm-parallel": ("stablelm", {**GROUPED, "use_parallel_residual": True, "use_qkv_bias": True}),
    "starcoder2": ("starcoder2", {**GROUPED, "sliding_window": 3}),
    "cohere": ("cohere", {**WIDE_HEADS, "logit_scale": 0.25, "use_qk_norm": True}),
    "granite": (
        "granite",
        {
            **GROUPED,
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.4,
            "logits_scaling": 5.0,
        },
    ),
    "deepseek_v2": ("deepseek_v2", {**LATENT, "n_group": 1, "topk_group": 1}),
    "deepseek_v2-q_proj": ("deepseek_v2", {**LATENT, "q_lora_rank": None, "first_k_dense_replace": 0}),
    "deepseek_v3": ("deepseek_v3", {**LATENT, "n_group": 2, "topk_group": 1}),
}


def _make(model_type: str, settings: dict[str, Any]) -> PreTrainedModel:
    config = AutoConfig.for_model(model_type, **settings)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def _builder(model_type: str, settings: dict[str, Any]) -> Callable[[], PreTrainedModel]:
    return partial(build_perturbed, partial(_make, model_type, settings))


DECODERS: dict[str, Callable[[], PreTrainedModel]] = {name: _builder(*made) for name, made in CONFIGS.items()}
