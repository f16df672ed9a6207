"""StableLM: Llama's modules with layer norms, in sequential or parallel blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap
from mechscope.models.llama_layout import llama_map

__all__ = ["StableLm"]


@FAMILIES.register("stablelm")
class StableLm:
    """StableLM 2, StableLM 3B."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """Parallel or not, as `use_parallel_residual` says; `q` and `k` are read before `qk_layernorm`."""
        is_parallel = config["use_parallel_residual"]
        mlp_norm = "input_layernorm" if is_parallel else "post_attention_layernorm"
        return llama_map(config, parallel_blocks=is_parallel, mlp_norm=mlp_norm)
