"""BERT with its masked-token head: a norm after each residual sum, so the stream is the normalised one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap

__all__ = ["Bert"]


@FAMILIES.register("bert")
class Bert:
    """BERT."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """`final_norm` is the head's transform (dense, activation, norm): there is no other norm at the end."""
        return ComponentMap(
            kind="masked_lm",
            blocks="bert.encoder.layer",
            embedding="bert.embeddings.word_embeddings",
            n_heads=config["num_attention_heads"],
            attention="attention",
            attention_projection="attention.output.dense",
            attention_norm_after="attention.output.LayerNorm",
            attention_returns_stream=True,
            mlp="output",
            mlp_projection="output.dense",
            mlp_norm_after="output.LayerNorm",
            mlp_returns_stream=True,
            final_norm="cls.predictions.transform",
            unembedding="cls.predictions.decoder",
            max_positions=config["max_position_embeddings"],
        )
