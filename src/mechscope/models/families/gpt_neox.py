"""GPT-NeoX and Pythia: parallel blocks by default, rotary positions, biases everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap

__all__ = ["GptNeoX"]


@FAMILIES.register("gpt_neox")
class GptNeoX:
    """GPT-NeoX, Pythia."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Parallel or not, as `use_parallel_residual` says."""
        return ComponentMap(
            kind="causal_lm",
            blocks="gpt_neox.layers",
            embedding="gpt_neox.embed_in",
            n_heads=config["num_attention_heads"],
            attention="attention",
            attention_projection="attention.dense",
            mlp="mlp",
            mlp_projection="mlp.dense_4h_to_h",
            mlp_norm="post_attention_layernorm",
            final_norm="gpt_neox.final_layer_norm",
            unembedding="lm_head",
            parallel_blocks=config["use_parallel_residual"],
            max_positions=config["max_position_embeddings"],
        )
