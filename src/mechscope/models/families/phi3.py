"""Phi-3: Llama's layout with one projection for queries, keys and values and one for gate and up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import joined_heads
from mechscope.models.llama_layout import llama_map

__all__ = ["Phi3"]


@FAMILIES.register("phi3")
class Phi3:
    """Phi-3, Phi-3.5, Phi-4."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """q, k and v lie behind one another in `qkv_proj`; the gate is the first half of `gate_up_proj`."""
        n_heads = config["num_attention_heads"]
        heads = joined_heads(
            "self_attn.qkv_proj",
            d_head=config.get("head_dim") or config["hidden_size"] // n_heads,
            n_heads=n_heads,
            n_kv_heads=config["num_key_value_heads"],
        )
        return llama_map(config, **heads, mlp_pre=Tap(module="mlp.activation_fn", at="input"))
