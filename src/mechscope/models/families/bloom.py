"""BLOOM: ALiBi, and the residual added inside each sublayer, so that sublayers return the stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import interleaved_heads

__all__ = ["Bloom"]


@FAMILIES.register("bloom")
class Bloom:
    """BLOOM, BLOOMZ."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """What a sublayer adds is the stream after it less the stream before it; there is no limit on positions."""
        n_heads = config["n_head"]
        d_head = config["hidden_size"] // n_heads
        return ComponentMap(
            kind="causal_lm",
            blocks="transformer.h",
            embedding="transformer.word_embeddings",
            n_heads=n_heads,
            attention="self_attention",
            attention_projection="self_attention.dense",
            attention_returns_stream=True,
            **interleaved_heads("self_attention.query_key_value", d_head=d_head, n_heads=n_heads),
            mlp="mlp",
            mlp_pre=Tap(module="mlp.gelu_impl", at="input"),
            mlp_projection="mlp.dense_4h_to_h",
            mlp_norm="post_attention_layernorm",
            mlp_returns_stream=True,
            final_norm="transformer.ln_f",
            unembedding="lm_head",
        )
