"""GPT-NeoX and Pythia: parallel blocks by default, rotary positions, biases everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import interleaved_heads

__all__ = ["GptNeoX"]


@FAMILIES.register("gpt_neox")
class GptNeoX:
    """GPT-NeoX, Pythia."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Parallel or not, as `use_parallel_residual` says; q, k and v lie side by side in each head."""
        n_heads = config["num_attention_heads"]
        d_head = config["hidden_size"] // n_heads
        return ComponentMap(
            kind="causal_lm",
            blocks="gpt_neox.layers",
            embedding="gpt_neox.embed_in",
            n_heads=n_heads,
            attention="attention",
            attention_projection="attention.dense",
            **interleaved_heads("attention.query_key_value", d_head=d_head, n_heads=n_heads),
            mlp="mlp",
            mlp_pre=Tap(module="mlp.act", at="input"),
            mlp_projection="mlp.dense_4h_to_h",
            mlp_norm="post_attention_layernorm",
            final_norm="gpt_neox.final_layer_norm",
            unembedding="lm_head",
            parallel_blocks=config["use_parallel_residual"],
            max_positions=config["max_position_embeddings"],
        )
