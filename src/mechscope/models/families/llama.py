"""Llama: sequential pre-norm blocks with RMS norms, gated MLP, grouped-query heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Llama"]


@FAMILIES.register("llama")
class Llama:
    """Llama 1, 2 and 3, and what follows their layout."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The one layout; the heads counted are the query heads."""
        return llama_map(config)
