"""The whole zoo: every tiny model by name."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedModel

from mechscope.testing.zoo.decoders import DECODERS
from mechscope.testing.zoo.others import OTHERS

__all__ = ["ZOO"]

ZOO: dict[str, Callable[[], PreTrainedModel]] = {**DECODERS, **OTHERS}
