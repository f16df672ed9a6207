"""Llama's layout, from which many families differ in a line or two.

stream -> input norm -> q_proj, k_proj, v_proj -> attention -> o_proj -> + stream
       -> post_attention_layernorm -> down_proj(act(gate_proj) * up_proj) -> + stream
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import separate_heads

__all__ = ["llama_map"]


def llama_map(config: Mapping[str, Any], **differences: Any) -> ComponentMap:
    """The map of a family that is laid out as Llama is.

    Args:
        config: its `num_attention_heads`, `num_key_value_heads` and `max_position_embeddings` are read. The width of
            a head is not: it is read off the projections.
        differences: fields of `ComponentMap` that are other than Llama's.
    """
    n_heads = config["num_attention_heads"]
    n_kv_heads = config.get("num_key_value_heads") or n_heads
    layout: dict[str, Any] = {
        "kind": "causal_lm",
        "blocks": "model.layers",
        "embedding": "model.embed_tokens",
        "n_heads": n_heads,
        "attention": "self_attn",
        "attention_projection": "self_attn.o_proj",
        **separate_heads(
            "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", n_heads=n_heads, n_kv_heads=n_kv_heads
        ),
        "mlp": "mlp",
        "mlp_pre": Tap(module="mlp.act_fn", at="input"),
        "mlp_projection": "mlp.down_proj",
        "mlp_norm": "post_attention_layernorm",
        "final_norm": "model.norm",
        "unembedding": "lm_head",
        "max_positions": config["max_position_embeddings"],
    }
    return ComponentMap(**(layout | differences))
