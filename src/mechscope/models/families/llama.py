"""Llama: sequential pre-norm blocks with RMS norms, gated MLP, grouped-query heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap

__all__ = ["Llama"]


@FAMILIES.register("llama")
class Llama:
    """Llama 1, 2 and 3, and what follows their layout."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The one layout; the heads counted are the query heads."""
        return ComponentMap(
            kind="causal_lm",
            blocks="model.layers",
            embedding="model.embed_tokens",
            n_heads=config["num_attention_heads"],
            attention="self_attn",
            attention_projection="self_attn.o_proj",
            mlp="mlp",
            mlp_projection="mlp.down_proj",
            mlp_norm="post_attention_layernorm",
            final_norm="model.norm",
            unembedding="lm_head",
            max_positions=config["max_position_embeddings"],
        )
