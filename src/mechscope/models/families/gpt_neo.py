"""GPT-Neo: GPT-2's blocks with separate projections; attention alternates between global and local."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import separate_heads

__all__ = ["GptNeo"]


@FAMILIES.register("gpt_neo")
class GptNeo:
    """GPT-Neo."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The one layout; the attention proper sits one module deeper than its output."""
        n_heads = config["num_heads"]
        attention = "attn.attention"
        return ComponentMap(
            kind="causal_lm",
            blocks="transformer.h",
            embedding="transformer.wte",
            n_heads=n_heads,
            attention="attn",
            attention_projection=f"{attention}.out_proj",
            **separate_heads(f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj", n_heads=n_heads),
            mlp="mlp",
            mlp_pre=Tap(module="mlp.act", at="input"),
            mlp_projection="mlp.c_proj",
            mlp_norm="ln_2",
            final_norm="transformer.ln_f",
            unembedding="lm_head",
            max_positions=config["max_position_embeddings"],
            padding_takes_positions=True,  # the causal mask is a table
        )
