"""DistilBERT: a norm after each residual sum, as in BERT, but the sums and norms are the block's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import separate_heads

__all__ = ["DistilBert"]


@FAMILIES.register("distilbert")
class DistilBert:
    """DistilBERT."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The norms put out the stream, so they stand for the sublayers. The head's dense map and activation lie
        before `final_norm`."""
        n_heads = config["n_heads"]
        return ComponentMap(
            kind="masked_lm",
            blocks="distilbert.transformer.layer",
            embedding="distilbert.embeddings.word_embeddings",
            n_heads=n_heads,
            attention="sa_layer_norm",
            attention_projection="attention.out_lin",
            attention_norm_after="sa_layer_norm",
            attention_returns_stream=True,
            **separate_heads("attention.q_lin", "attention.k_lin", "attention.v_lin", n_heads=n_heads),
            mlp="output_layer_norm",
            mlp_pre=Tap(module="ffn.lin1"),
            mlp_projection="ffn.lin2",
            mlp_norm="ffn",  # no norm, but what reads the stream for the MLP: there resid_mid is checked
            mlp_norm_after="output_layer_norm",
            mlp_returns_stream=True,
            final_norm="vocab_layer_norm",
            head_transform=True,
            unembedding="vocab_projector",
            max_positions=config["max_position_embeddings"],
        )
