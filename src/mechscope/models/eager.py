"""Eager attention for one run: only there is the pattern a tensor that one can read and write.

The choice of an attention stands in a model's configs, for all who run it. So a run holds the turn (see `turns`) while
it sets the choice, and a run inside an edit of an eager one goes back to the model's own, as if it ran by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from mechscope.core import LayerComponent
from mechscope.core.hugging_face import PretrainedConfig, is_transformers_config

__all__ = ["attention_for", "named_implementations", "needs_eager"]

IMPLEMENTATION = "_implementation_internal"  # how the fields end in which a config keeps what runs (attention, experts)
FIELD = f"_attn{IMPLEMENTATION}"  # the public setter would also write into configs that keep another choice

_OWN: dict[int, str | None] = {}  # of configs that a run at hand has set to eager: what the model has chosen


def needs_eager(sites: Iterable[LayerComponent]) -> bool:
    """Whether a pattern is among the sites."""
    return any(site.kind.endswith("pattern") for site in sites)


@contextmanager
def attention_for(module: nn.Module, sites: Iterable[LayerComponent]) -> Iterator[None]:
    """The attention that a run at these sites needs: eager where a pattern is among them, else the model's own.

    To be entered in a turn. What was set before comes back.
    """
    is_eager = needs_eager(sites)
    configs = [config for config in _configs(module) if hasattr(config, FIELD)] if is_eager or _OWN else []
    before = [getattr(config, FIELD) for config in configs]
    added = [id(config) for config in configs if is_eager and id(config) not in _OWN]
    try:
        for config, choice in zip(configs, before, strict=True):
            own = _OWN.setdefault(id(config), choice) if is_eager else _OWN.get(id(config), choice)
            setattr(config, FIELD, "eager" if is_eager else own)
        yield
    finally:
        for config, choice in zip(configs, before, strict=True):
            setattr(config, FIELD, choice)
        for key in added:
            _OWN.pop(key, None)


def named_implementations(module: nn.Module) -> list[dict[str, str | None]]:
    """What each config of a transformers model has chosen to run, config by config. To be asked in a turn."""
    return [
        {name: value for name, value in sorted(vars(config).items()) if name.endswith(IMPLEMENTATION)}
        | ({FIELD: _OWN[id(config)]} if id(config) in _OWN else {})
        for config in _configs(module)
    ]


def _configs(module: nn.Module) -> list[PretrainedConfig]:
    """The configs of a transformers model and of its parts, each once."""
    found = (getattr(part, "config", None) for part in module.modules())
    return list({id(config): config for config in found if is_transformers_config(config)}.values())
