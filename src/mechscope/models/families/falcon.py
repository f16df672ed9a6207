"""Falcon: parallel or sequential blocks, rotary positions or ALiBi, and three layouts of queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import Heads, grouped_heads, interleaved_heads, joined_heads

__all__ = ["Falcon"]

QKV = "self_attention.query_key_value"


@FAMILIES.register("falcon")
class Falcon:
    """Falcon 7B, 40B, 180B, RW."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Parallel with `parallel_attn` and in the new architecture; the MLP's output is overwritten by the sum."""
        is_parallel = config["new_decoder_architecture"] or config["parallel_attn"]
        return ComponentMap(
            kind="causal_lm",
            blocks="transformer.h",
            embedding="transformer.word_embeddings",
            n_heads=config["num_attention_heads"],
            attention="self_attention",
            attention_projection="self_attention.dense",
            **_heads(config),
            mlp="mlp",
            mlp_pre=Tap(module="mlp.act", at="input"),
            mlp_projection="mlp.dense_4h_to_h",
            mlp_norm=_mlp_norm(config, is_parallel),
            final_norm="transformer.ln_f",
            unembedding="lm_head",
            parallel_blocks=is_parallel,
            writes_in_place=True,
            max_positions=None if config["alibi"] else config["max_position_embeddings"],
        )


def _heads(config: Mapping[str, Any]) -> Heads:
    """Grouped in the new architecture; before it one key-value head behind the queries, or q, k, v in each head."""
    n_heads = config["num_attention_heads"]
    d_head = config["hidden_size"] // n_heads
    if config["new_decoder_architecture"]:
        return grouped_heads(QKV, d_head=d_head, n_heads=n_heads, n_kv_heads=config["num_kv_heads"] or n_heads)
    if config["multi_query"]:
        return joined_heads(QKV, d_head=d_head, n_heads=n_heads, n_kv_heads=1)
    return interleaved_heads(QKV, d_head=d_head, n_heads=n_heads)


def _mlp_norm(config: Mapping[str, Any], is_parallel: bool) -> str:
    """The norm of the MLP's own, where it has one; the count of norms is only written out once a model is built."""
    if not is_parallel:
        return "post_attention_layernorm"
    has_own = config["new_decoder_architecture"] and config["num_ln_in_parallel_attn"] in {None, 2}
    return "ln_mlp" if has_own else "input_layernorm"
