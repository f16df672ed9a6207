"""OLMo 2: Llama's modules with a norm after each sublayer and none before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, HeadTap
from mechscope.models.llama_layout import llama_map

__all__ = ["Olmo2"]


@FAMILIES.register("olmo2")
class Olmo2:
    """OLMo 2."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The norm after a sublayer belongs to what it adds; the MLP itself reads the stream.

        Queries and keys go through a norm over all heads at once, so before it no head is by itself: `q` and `k` are
        read behind it.
        """
        n_heads = config["num_attention_heads"]
        return llama_map(
            config,
            query=HeadTap(module="self_attn.q_norm", n_heads=n_heads),
            key=HeadTap(module="self_attn.k_norm", n_heads=config["num_key_value_heads"] or n_heads),
            attention="post_attention_layernorm",
            attention_norm_after="post_attention_layernorm",
            mlp="post_feedforward_layernorm",
            mlp_norm="mlp",
            mlp_norm_after="post_feedforward_layernorm",
        )
