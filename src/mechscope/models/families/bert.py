"""BERT with its masked-token head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.bert_layout import bert_map
from mechscope.models.component_map import ComponentMap

__all__ = ["Bert"]


@FAMILIES.register("bert")
class Bert:
    """BERT."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """`final_norm` is the head's transform (dense, activation, norm): there is no other norm at the end."""
        return bert_map(
            config, body="bert", final_norm="cls.predictions.transform", unembedding="cls.predictions.decoder"
        )
