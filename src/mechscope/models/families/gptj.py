"""GPT-J: parallel blocks under one layer norm, rotary positions, a bias on the unembedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import separate_heads

__all__ = ["GptJ"]


@FAMILIES.register("gptj")
class GptJ:
    """GPT-J."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The one layout; attention has no biases, the MLP has."""
        n_heads = config["n_head"]
        return ComponentMap(
            kind="causal_lm",
            blocks="transformer.h",
            embedding="transformer.wte",
            n_heads=n_heads,
            attention="attn",
            attention_projection="attn.out_proj",
            **separate_heads("attn.q_proj", "attn.k_proj", "attn.v_proj", n_heads=n_heads),
            mlp="mlp",
            mlp_pre=Tap(module="mlp.act", at="input"),
            mlp_projection="mlp.fc_out",
            mlp_norm="ln_1",
            final_norm="transformer.ln_f",
            unembedding="lm_head",
            parallel_blocks=True,
            max_positions=config["n_positions"],
        )
