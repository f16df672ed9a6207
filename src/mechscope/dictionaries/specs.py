"""What a dictionary is, apart from its weights."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mechscope.core import Spec

__all__ = ["DictionarySpec"]


class DictionarySpec(Spec):
    """The shape and kind of a dictionary; its architecture checks what only it knows.

    architecture: registered name ("topk", "relu").
    d_in: width of the activations it reads, at least 1.
    n_features: number of features, at least 1.
    k: features kept for each sample, where the architecture keeps a fixed number; None elsewhere.
    apply_b_dec_to_input: whether b_dec is taken off the input before encoding (SAELens' field of that name).
    options: further settings of the architecture; JSON types.
    """

    architecture: str
    d_in: int = Field(ge=1)
    n_features: int = Field(ge=1)
    k: int | None = Field(default=None, ge=1)
    apply_b_dec_to_input: bool = True
    options: dict[str, Any] = {}
