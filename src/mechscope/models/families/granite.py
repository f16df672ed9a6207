"""Granite: Llama's layout, with multipliers on embedding, sublayers, attention scores and logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Granite"]


@FAMILIES.register("granite")
class Granite:
    """Granite 3."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Llama's layout; the sublayers' outputs are multiplied before they are added, the logits divided."""
        return llama_map(
            config,
            residual_multiplier=float(config["residual_multiplier"]),
            logit_scale=1.0 / config["logits_scaling"],
        )
