"""Multi-head latent attention (DeepSeek-V2, section 2.1), as far as component maps are concerned.

    queries       q_proj, or q_b_proj behind a low-rank pair:     [n_heads, not rotated | rotated]
    keys          per head the first part of kv_b_proj; beside it one rotated part that all heads share
    values        per head the second part of kv_b_proj:          [n_heads, key part | value], each v_head_dim wide
    z             the input of o_proj:                            [n_heads, v_head_dim]

So a head's query and key are wider than its value, and no module puts out a head's whole key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.models.component_map import ComponentMap, HeadTap
from mechscope.models.llama_layout import llama_map

__all__ = ["latent_attention_map"]

NO_KEYS = (
    "a head's key is put together from its part of kv_b_proj and a rotated part that all heads share, "
    "so no module puts it out"
)
NO_NEURONS = "every block is a mixture of experts, so there is no one row of neurons"


def latent_attention_map(config: Mapping[str, Any]) -> ComponentMap:
    """Llama's layout with latent attention and, behind the first `first_k_dense_replace` blocks, experts."""
    n_heads = config["num_attention_heads"]
    query = "self_attn.q_proj" if config["q_lora_rank"] is None else "self_attn.q_b_proj"
    differences: dict[str, Any] = {
        "query": HeadTap(module=query, n_heads=n_heads),
        "key": None,
        "value": HeadTap(
            module="self_attn.kv_b_proj",
            n_heads=n_heads,
            n_groups=n_heads,
            start=config["qk_nope_head_dim"],
            has_group_axis=True,
        ),
        "absent": {"k": NO_KEYS},
    }
    if not config["first_k_dense_replace"]:
        differences |= {"mlp_pre": None, "mlp_projection": None}
        differences["absent"] |= {"mlp_pre": NO_NEURONS, "mlp_post": NO_NEURONS}
    return llama_map(config, **differences)
