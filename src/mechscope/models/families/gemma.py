"""Gemma: Llama's layout, with norms that store their weight less one and an embedding scaled by sqrt(d_model)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Gemma"]


@FAMILIES.register("gemma")
class Gemma:
    """Gemma 1."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Llama's layout; the scaled embedding is `embed`."""
        return llama_map(config)
