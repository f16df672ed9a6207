"""StarCoder 2: Mistral with layer norms, biases and an MLP without a gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.llama_layout import llama_map

__all__ = ["Starcoder2"]


@FAMILIES.register("starcoder2")
class Starcoder2:
    """StarCoder 2."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Llama's layout, but for the MLP's names."""
        return llama_map(
            config,
            mlp_pre=Tap(module="mlp.act", at="input"),
            mlp_projection="mlp.c_proj",
        )
