"""Mistral: Llama's layout, with sliding-window attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Mistral"]


@FAMILIES.register("mistral")
class Mistral:
    """Mistral 7B and what follows it."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Llama's layout; the window is the attention's own affair."""
        return llama_map(config)
