"""GPT-2: sequential pre-norm blocks, learnt absolute positions, Conv1D projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap

__all__ = ["Gpt2"]


@FAMILIES.register("gpt2")
class Gpt2:
    """GPT-2."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The one layout."""
        return ComponentMap(
            kind="causal_lm",
            blocks="transformer.h",
            embedding="transformer.wte",
            n_heads=config["n_head"],
            attention="attn",
            attention_projection="attn.c_proj",
            mlp="mlp",
            mlp_projection="mlp.c_proj",
            mlp_norm="ln_2",
            final_norm="transformer.ln_f",
            unembedding="lm_head",
            max_positions=config["n_positions"],
        )
