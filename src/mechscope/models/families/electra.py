"""ELECTRA's generator: BERT's blocks, embeddings and output head of their own width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.bert_layout import bert_map
from mechscope.models.component_map import ComponentMap

__all__ = ["Electra"]


@FAMILIES.register("electra")
class Electra:
    """ELECTRA with its masked-token head (the discriminator has no outputs over the vocabulary)."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """`final_norm` is the head's transform, [batch pos embedding_size]; `embed` is the stream behind the map from
        the embeddings' width to the blocks'."""
        return bert_map(config, body="electra", final_norm="generator_predictions", unembedding="generator_lm_head")
