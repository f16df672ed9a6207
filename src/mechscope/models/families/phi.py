"""Phi: parallel blocks under one layer norm, an MLP without a gate, biases everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.llama_layout import llama_map

__all__ = ["Phi"]


@FAMILIES.register("phi")
class Phi:
    """Phi-1, Phi-1.5, Phi-2."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Parallel; `q` and `k` are read before `qk_layernorm`."""
        return llama_map(
            config,
            attention_projection="self_attn.dense",
            mlp_pre=Tap(module="mlp.activation_fn", at="input"),
            mlp_projection="mlp.fc2",
            mlp_norm="input_layernorm",
            final_norm="model.final_layernorm",
            parallel_blocks=True,
        )
