"""Directions behind the final map, seen from the stream before it."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mechscope.models.final_maps import FinalMap, LinearParts
from mechscope.models.lens.places import Places

__all__ = ["PulledBack", "pull_back"]


@dataclass(frozen=True, eq=False)
class PulledBack:
    """A direction behind the map, seen from the stream before it, in float64.

    Attributes:
        seen: what a part of the stream at each token is multiplied with [m d_model].
        bias: what the map's bias adds in that direction [n]; None without a map.
        scale: what the norm divides by at each token [m]; None without a norm.
    """

    seen: Float[Tensor, "m d_model"]
    bias: Float[Tensor, "n"] | None
    scale: Float[Tensor, "m"] | None


def pull_back(
    parts: FinalMap | None,
    stream: Float[Tensor, "m d_model"],
    direction: Float[Tensor, "n d_out"],
    places: Places,
) -> PulledBack:
    """The directions [n d_out] seen from `stream`, the norm's scale held at its value there."""
    seen, stream = places.spread(direction), stream.double()
    if parts is None:
        return PulledBack(seen, None, None)
    bias = (direction * parts.bias).sum(dim=1)
    if isinstance(parts, LinearParts):
        return PulledBack(seen @ parts.matrix.double().T, bias, None)
    scale = parts.scale(stream)
    # the centring is a symmetric projection, so it may as well act on the direction
    return PulledBack(parts.centre(seen * parts.weight.double()) / scale, bias, scale[:, 0])
