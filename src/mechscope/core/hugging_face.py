"""Hugging Face's transformers, imported when something of it is first used.

It takes longer to import than all the rest together (torch's compiler and sympy come along), and what runs on a network
of our own, in a worker process most of all, never needs it. So nothing imports it at the top: its names are read off
`transformers`, and whether a thing is of one of its classes is asked here, which imports nothing either: before its
module is there, no such thing can be.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
else:
    PretrainedConfig: TypeAlias = Any
    PreTrainedModel: TypeAlias = Any
    PreTrainedTokenizerBase: TypeAlias = Any

__all__ = [
    "LaterModule",
    "PreTrainedModel",
    "PreTrainedTokenizerBase",
    "PretrainedConfig",
    "is_transformers_config",
    "is_transformers_conv1d",
    "is_transformers_model",
    "transformers",
    "transformers_logging",
    "transformers_version",
]


class LaterModule:
    """A module that is imported when one of its names is first read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


transformers: Any = LaterModule("transformers")
transformers_logging: Any = LaterModule("transformers.utils.logging")


def is_transformers_model(thing: object) -> bool:
    """Whether it is a `PreTrainedModel`."""
    return _is_of(thing, "transformers.modeling_utils", "PreTrainedModel")


def is_transformers_config(thing: object) -> bool:
    """Whether it is a `PretrainedConfig`."""
    return _is_of(thing, "transformers.configuration_utils", "PretrainedConfig")


def is_transformers_conv1d(thing: object) -> bool:
    """Whether it is a `Conv1D`: GPT-2's linear map, whose weight lies the other way round than torch's."""
    return _is_of(thing, "transformers.pytorch_utils", "Conv1D")


@cache
def transformers_version() -> str:
    """The version installed, without an import."""
    return version("transformers")


def _is_of(thing: object, module: str, name: str) -> bool:
    # A module that another thread is just importing may lack the name: then nothing has been made with it so far.
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(thing, kind)
