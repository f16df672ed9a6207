"""Mamba: blocks with one sublayer each, a selective state-space mixer; there is no attention and no MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mechscope.core.kinds import FAMILIES
from mechscope.core.sites import LAYER_KINDS
from mechscope.models.component_map import ComponentMap

__all__ = ["Mamba"]

STREAM = frozenset({"resid_pre", "resid_post"})
NO_MIDDLE = "a block of Mamba has one sublayer, its mixer, so there is no stream between two"
NO_ATTENTION = "Mamba has no attention: what its mixer adds to the stream is the site 'mixer'"
NO_MLP = "Mamba has no MLP: what its mixer adds to the stream is the site 'mixer'"


@FAMILIES.register("mamba")
class Mamba:
    """Mamba."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """resid_pre + `mixer` = resid_post; `mixer` is the path of a module, named as a site: `mixer:3`."""
        return ComponentMap(
            kind="causal_lm",
            blocks="backbone.layers",
            embedding="backbone.embeddings",
            final_norm="backbone.norm_f",
            unembedding="lm_head",
            absent={kind: _reason(kind) for kind in LAYER_KINDS if kind not in STREAM},
        )


def _reason(kind: str) -> str:
    if kind == "resid_mid":
        return NO_MIDDLE
    return NO_MLP if kind.startswith("mlp_") else NO_ATTENTION
