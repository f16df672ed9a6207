"""T5: an encoder and a decoder that attends to it; sublayers that add the stream inside; relative positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import separate_heads

__all__ = ["T5"]


@FAMILIES.register("t5")
class T5:
    """T5 and T5 v1.1, with the language-model head."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """T5 scales what its unembedding reads, v1.1 does not (`scale_decoder_outputs`)."""
        cross = "layer.1.EncDecAttention"
        heads = separate_heads(f"{cross}.q", f"{cross}.k", f"{cross}.v", n_heads=config["num_heads"])
        return ComponentMap(
            kind="seq2seq_lm",
            **_stack(config, "decoder", mlp="layer.2"),
            cross_attention="layer.1",
            cross_attention_projection=f"{cross}.o",
            cross_query=heads["query"],
            cross_key=heads["key"],
            cross_value=heads["value"],
            unembedding="lm_head",
            logit_scale=config["d_model"] ** -0.5 if config["scale_decoder_outputs"] else None,
            encoder=ComponentMap(**_stack(config, "encoder", mlp="layer.1")),
        )


def _stack(config: Mapping[str, Any], name: str, *, mlp: str) -> dict[str, Any]:
    """What encoder and decoder have in common. The first sublayer is the attention to the stack itself."""
    n_heads = config["num_heads"]
    attention = "layer.0.SelfAttention"
    gate = "wi_0" if config["is_gated_act"] else "wi"
    return {
        "blocks": f"{name}.block",
        "embedding": f"{name}.embed_tokens",
        "n_heads": n_heads,
        "attention": "layer.0",
        "attention_projection": f"{attention}.o",
        "attention_returns_stream": True,
        **separate_heads(f"{attention}.q", f"{attention}.k", f"{attention}.v", n_heads=n_heads),
        "mlp": mlp,
        "mlp_pre": Tap(module=f"{mlp}.DenseReluDense.{gate}"),
        "mlp_projection": f"{mlp}.DenseReluDense.wo",
        "mlp_norm": f"{mlp}.layer_norm",
        "mlp_returns_stream": True,
        "final_norm": f"{name}.final_layer_norm",
    }
