"""Qwen3: Llama's layout, with a norm on each head's query and key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Qwen3"]


@FAMILIES.register("qwen3")
class Qwen3:
    """Qwen3, the dense models."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Llama's layout; `q` and `k` are read before their norms."""
        return llama_map(config)
