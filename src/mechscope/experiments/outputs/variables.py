"""The settings of what a feature writes."""

from __future__ import annotations

from pydantic import Field

from mechscope.core import Spec
from mechscope.experiments.outputs.reader import Method

__all__ = ["DecoderOutputVariables"]


class DecoderOutputVariables(Spec):
    """The variables of what a feature writes.

    Attributes:
        methods: "ablate" (the feature taken out where it is active), "steer" (its decoder row added), or both.
        top_k: outputs listed on each side.
        steer_to: activation that is added, as a multiple of the feature's effective maximum.
        n_random: random directions of the same length; a p against them is at least 1 / (1 + n_random).
        n_matched: other features' directions, those that are active as often.
        min_logit: least change that counts.
        most_outputs: of more outputs, the half strongest by weights and the half that one half of the contexts moves
            most are tested, on the other half alone.
    """

    methods: tuple[Method, ...] = Field(default=("ablate", "steer"), min_length=1)
    top_k: int = Field(default=10, ge=1)
    steer_to: float = Field(default=1.0, gt=0)
    n_random: int = Field(default=39, ge=19)
    n_matched: int = Field(default=5, ge=0)
    min_logit: float = Field(default=0.01, ge=0)
    most_outputs: int = Field(default=2000, ge=4)
