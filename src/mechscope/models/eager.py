"""Eager attention for one run: only there is the pattern a tensor that one can read and write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PretrainedConfig

from mechscope.core import LayerComponent

__all__ = ["eager_attention", "named_implementations", "needs_eager"]

IMPLEMENTATION = "_implementation_internal"  # how the fields end in which a config keeps what runs (attention, experts)
FIELD = "_attn_implementation_internal"  # the public setter would also write into configs that keep another choice


def needs_eager(sites: Iterable[LayerComponent]) -> bool:
    """Whether a pattern is among the sites."""
    return any(site.kind.endswith("pattern") for site in sites)


@contextmanager
def eager_attention(module: nn.Module) -> Iterator[None]:
    """Let every attention of a transformers model run eagerly; what was chosen before comes back."""
    configs = {id(part.config): part.config for part in module.modules() if isinstance(_config(part), PretrainedConfig)}
    before = {key: getattr(config, FIELD) for key, config in configs.items() if hasattr(config, FIELD)}
    try:
        for key in before:
            setattr(configs[key], FIELD, "eager")
        yield
    finally:
        for key, choice in before.items():
            setattr(configs[key], FIELD, choice)


def named_implementations(module: nn.Module) -> list[dict[str, str | None]]:
    """What each config of a transformers model has chosen to run, config by config."""
    configs = {id(config): config for part in module.modules() if isinstance(config := _config(part), PretrainedConfig)}
    return [
        {name: value for name, value in sorted(vars(config).items()) if name.endswith(IMPLEMENTATION)}
        for config in configs.values()
    ]


def _config(part: nn.Module) -> object:
    return getattr(part, "config", None)
