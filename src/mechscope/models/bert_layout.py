"""BERT's blocks, which RoBERTa and ELECTRA share: a norm after each residual sum, so the stream is the normalised one.

stream -> query, key, value -> attention -> attention.output.dense -> norm of (+ stream) = resid_mid
       -> output.dense(act(intermediate.dense)) -> norm of (+ resid_mid) = resid_post
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import separate_heads

__all__ = ["bert_map"]


def bert_map(config: Mapping[str, Any], *, body: str, **ends: Any) -> ComponentMap:
    """The map of a masked language model with BERT's blocks.

    Args:
        config: its `num_attention_heads` and `max_position_embeddings` are read.
        body: path of the model without its head, for example "bert".
        ends: the fields of `ComponentMap` behind the blocks, and those that are other than BERT's.
    """
    n_heads = config["num_attention_heads"]
    layout: dict[str, Any] = {
        "kind": "masked_lm",
        "blocks": f"{body}.encoder.layer",
        "embedding": f"{body}.embeddings.word_embeddings",
        "n_heads": n_heads,
        "attention": "attention",
        "attention_projection": "attention.output.dense",
        "attention_norm_after": "attention.output.LayerNorm",
        "attention_core": "attention.self",
        "attention_returns_stream": True,
        "mlp": "output",
        "mlp_pre": Tap(module="intermediate.dense"),
        "mlp_projection": "output.dense",
        "mlp_norm": "intermediate",  # no norm, but what reads the stream for the MLP: there resid_mid is checked
        "mlp_norm_after": "output.LayerNorm",
        "mlp_returns_stream": True,
        "max_positions": config["max_position_embeddings"],
        **separate_heads("attention.self.query", "attention.self.key", "attention.self.value", n_heads=n_heads),
    }
    return ComponentMap(**(layout | ends))
