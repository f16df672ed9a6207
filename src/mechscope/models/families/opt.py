"""OPT: learnt absolute positions; norms before the sublayers, or (350M) behind each residual sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import separate_heads

__all__ = ["Opt"]

AFTER_THE_SUM = {
    "attention": "self_attn_layer_norm",
    "attention_norm_after": "self_attn_layer_norm",
    "attention_returns_stream": True,
    "mlp": "final_layer_norm",
    "mlp_norm_after": "final_layer_norm",
    "mlp_returns_stream": True,
}


@FAMILIES.register("opt")
class Opt:
    """OPT, Galactica."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The MLP has no module of its own and works on [batch * pos, d_model]. Behind the blocks comes a norm, or
        (350M) a linear map to the width of the embedding, or nothing.
        """
        n_heads = config["num_attention_heads"]
        has_norm = config["do_layer_norm_before"] and not config["_remove_final_layer_norm"]
        has_map = config["word_embed_proj_dim"] != config["hidden_size"]
        layout: dict[str, Any] = {
            "kind": "causal_lm",
            "blocks": "model.decoder.layers",
            "embedding": "model.decoder.embed_tokens",
            "n_heads": n_heads,
            "attention": "self_attn",
            "attention_projection": "self_attn.out_proj",
            **separate_heads("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", n_heads=n_heads),
            "mlp": "fc2",
            "mlp_pre": Tap(module="activation_fn", at="input"),
            "mlp_projection": "fc2",
            "mlp_flattens": True,
            "final_norm": "model.decoder.final_layer_norm" if has_norm else None,
            "unembedding": "lm_head",
            "max_positions": config["max_position_embeddings"],
        }
        if has_map:
            layout |= {"final_norm": "model.decoder.project_out", "head_transform": has_norm}
        return ComponentMap(**(layout | ({} if config["do_layer_norm_before"] else AFTER_THE_SUM)))
