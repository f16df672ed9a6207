"""Cohere Command-R: Llama's modules in parallel blocks under one norm, scaled logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Cohere"]


@FAMILIES.register("cohere")
class Cohere:
    """Command-R."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Parallel; `logit_scale` multiplies the logits."""
        return llama_map(config, parallel_blocks=True, mlp_norm="input_layernorm", logit_scale=config["logit_scale"])
