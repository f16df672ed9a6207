"""Gemma 3, the text model: norms before and after each sublayer, a norm on each head's query and key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Gemma3Text"]


@FAMILIES.register("gemma3_text")
class Gemma3Text:
    """Gemma 3, text only."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The norm after a sublayer belongs to what it adds to the stream."""
        return llama_map(
            config,
            attention="post_attention_layernorm",
            attention_norm_after="post_attention_layernorm",
            mlp="post_feedforward_layernorm",
            mlp_norm="pre_feedforward_layernorm",
            mlp_norm_after="post_feedforward_layernorm",
            logit_cap=config["final_logit_softcapping"],
        )
