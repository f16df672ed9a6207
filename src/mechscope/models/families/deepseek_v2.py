"""DeepSeek-V2: multi-head latent attention, a mixture of experts behind the first blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.latent_attention import latent_attention_map

__all__ = ["DeepseekV2"]


@FAMILIES.register("deepseek_v2")
class DeepseekV2:
    """DeepSeek-V2."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Neurons are there in the dense blocks only."""
        return latent_attention_map(config)
