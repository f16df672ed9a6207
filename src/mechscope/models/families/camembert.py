"""CamemBERT with its masked-token head: RoBERTa's modules, and positions counted on from the padding id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.bert_layout import bert_map
from mechscope.models.component_map import ComponentMap

__all__ = ["Camembert"]


@FAMILIES.register("camembert")
class Camembert:
    """CamemBERT."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The head's dense map and activation lie before `final_norm`. Positions up to the padding id stay unused."""
        return bert_map(
            config,
            body="roberta",
            final_norm="lm_head.layer_norm",
            head_transform=True,
            unembedding="lm_head.decoder",
            max_positions=config["max_position_embeddings"] - config["pad_token_id"] - 1,
        )
