"""ViT with its classifier: pre-norm blocks over patches of an image; the first position is the class token's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import separate_heads

__all__ = ["Vit"]


@FAMILIES.register("vit")
class Vit:
    """ViT."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The input is `pixel_values`; the classifier reads the class token behind the final norm: `pooled`."""
        size = config["image_size"]
        height, width = (size, size) if isinstance(size, int) else size
        n_heads = config["num_attention_heads"]
        return ComponentMap(
            kind="classifier",
            blocks="vit.layers",
            n_heads=n_heads,
            attention="attention",
            attention_projection="attention.o_proj",
            **separate_heads("attention.q_proj", "attention.k_proj", "attention.v_proj", n_heads=n_heads),
            mlp="mlp",
            mlp_pre=Tap(module="mlp.fc1"),
            mlp_projection="mlp.fc2",
            mlp_norm="layernorm_after",
            final_norm="vit.layernorm",
            unembedding="classifier",
            pooled=Tap(module="classifier", at="input"),
            value_inputs={"pixel_values": (config["num_channels"], height, width)},
        )
