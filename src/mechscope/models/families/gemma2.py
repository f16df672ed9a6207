"""Gemma 2: Llama's modules with norms before and after each sublayer, soft-capped scores and logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Gemma2"]


@FAMILIES.register("gemma2")
class Gemma2:
    """Gemma 2."""

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
