"""Qwen2: Llama's layout, with biases on queries, keys and values and optional sliding windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Qwen2"]


@FAMILIES.register("qwen2")
class Qwen2:
    """Qwen2, Qwen2.5."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Llama's layout."""
        return llama_map(config)
