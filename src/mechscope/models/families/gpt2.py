"""GPT-2: sequential pre-norm blocks, learnt absolute positions, Conv1D projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import joined_heads

__all__ = ["Gpt2"]


@FAMILIES.register("gpt2")
class Gpt2:
    """GPT-2."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The one layout; q, k and v lie behind one another in `c_attn`."""
        n_heads = config["n_head"]
        return ComponentMap(
            kind="causal_lm",
            blocks="transformer.h",
            embedding="transformer.wte",
            n_heads=n_heads,
            attention="attn",
            attention_projection="attn.c_proj",
            **joined_heads("attn.c_attn", d_head=config["n_embd"] // n_heads, n_heads=n_heads),
            mlp="mlp",
            mlp_pre=Tap(module="mlp.act", at="input"),
            mlp_projection="mlp.c_proj",
            mlp_norm="ln_2",
            final_norm="transformer.ln_f",
            unembedding="lm_head",
            max_positions=config["n_positions"],
        )
