"""OLMo: Llama's layout, with layer norms that have no weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Olmo"]


@FAMILIES.register("olmo")
class Olmo:
    """OLMo 1."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Llama's layout. With `clip_qkv`, q, k and v are read before they are clipped, which is done in place."""
        clip = config["clip_qkv"]
        return llama_map(config, writes_in_place=clip is not None, head_clip=clip)
