"""The set-completion transformer of this package: no positions, induced attention, masked mean, yes/no outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mechscope.core import read_mapping
from mechscope.core.kinds import FAMILIES
from mechscope.models.component_map import ComponentMap, HeadTap, Tap
from mechscope.models.set_transformer import load_set_transformer

__all__ = ["SetTransformerFamily"]

INDUCED = "its attention runs in two steps, and the tokens look at inducing points instead of at each other"


@FAMILIES.register("mechscope_set")
class SetTransformerFamily:
    """mechscope's set transformer."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """`final_norm` comes before the mean, so `pooled` is one linear map away from the logits.

        No token is left out of the loss, padding included: the model is trained on the whole vocabulary.
        """
        return ComponentMap(
            kind="set",
            blocks="blocks",
            embedding="token_embedding",
            n_heads=config["n_heads"],
            query=HeadTap(module="attention.query", n_heads=config["n_heads"]),
            absent=dict.fromkeys(("k", "v", "pattern"), INDUCED),
            attention="attention",
            attention_projection="attention.output",
            mlp="mlp",
            mlp_pre=Tap(module="mlp.activation", at="input"),
            mlp_projection="mlp.down",
            mlp_norm="mlp_norm",
            final_norm="final_norm",
            unembedding="output",
            pooled=Tap(module="pooling"),
            extra_ids={"weapon_ids": config["n_weapons"]},
        )

    def load(self, folder: Path) -> nn.Module:
        """The model in a folder (config.json, model.safetensors)."""
        return load_set_transformer(folder)

    def vocabulary(self, folder: Path) -> tuple[str, ...] | None:
        """The tokens of `vocab.json` (token -> id) beside the weights, in the order of their ids."""
        path = folder / "vocab.json"
        if not path.is_file():
            return None
        ids = read_mapping(path)
        return tuple(sorted(ids, key=lambda token: int(ids[token])))
