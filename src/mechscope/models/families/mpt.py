"""MPT: ALiBi, no biases, and an MLP that adds the residual itself, so that it returns the stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, Tap
from mechscope.models.head_layouts import joined_heads

__all__ = ["Mpt"]


@FAMILIES.register("mpt")
class Mpt:
    """MPT."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """q, k and v lie behind one another in `Wqkv`, read before `clip_qkv`; the ALiBi table limits positions."""
        n_heads = config["n_heads"]
        return ComponentMap(
            kind="causal_lm",
            blocks="transformer.blocks",
            embedding="transformer.wte",
            n_heads=n_heads,
            attention="attn",
            attention_projection="attn.out_proj",
            **joined_heads("attn.Wqkv", d_head=config["d_model"] // n_heads, n_heads=n_heads),
            head_clip=config["attn_config"]["clip_qkv"],
            mlp="ffn",
            mlp_pre=Tap(module="ffn.act", at="input"),
            mlp_projection="ffn.down_proj",
            mlp_norm="norm_2",
            mlp_returns_stream=True,
            final_norm="transformer.norm_f",
            unembedding="lm_head",
            max_positions=config["max_seq_len"],
            padding_takes_positions=True,
        )
