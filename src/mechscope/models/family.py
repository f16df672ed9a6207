"""What a model family is: a component map from a config, and, for our own architectures, a loader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from mechscope.models.component_map import ComponentMap

__all__ = ["Family", "LoadingFamily"]


class Family(Protocol):
    """A family, registered in FAMILIES under the `model_type` of its config."""

    def component_map(self, config: Mapping[str, Any]) -> ComponentMap:
        """The map for a model with this config (the content of config.json, defaults written out)."""
        ...


@runtime_checkable
class LoadingFamily(Protocol):
    """A family whose folders transformers cannot read."""

    def load(self, folder: Path) -> nn.Module:
        """The model in a folder, in float32 and evaluation mode."""
        ...

    def vocabulary(self, folder: Path) -> tuple[str, ...] | None:
        """Token id -> string to show, or None when the folder does not say."""
        ...
