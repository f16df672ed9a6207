"""Mixtral: Mistral with a mixture of experts in place of the MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["Mixtral"]

NO_NEURONS = "each token goes through experts of its own choice, so there is no one row of neurons"


@FAMILIES.register("mixtral")
class Mixtral:
    """Mixtral 8x7B, 8x22B."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Llama's layout, but for the neurons."""
        return llama_map(
            config,
            mlp_pre=None,
            mlp_projection=None,
            absent={"mlp_pre": NO_NEURONS, "mlp_post": NO_NEURONS},
        )
