"""Second and third differences in given contexts, on a stated scale, and what the floor at zero does to them.

Second difference: I(i, j | S) = f(S + i + j) - f(S + i) - f(S + j) + f(S); above 0 synergy, below 0 redundancy.
Third: I(i, j | S + k) - I(i, j | S), how k changes the interaction of i and j; symmetric in the three.
Both are sums over corners (players of interest present or absent), each with the sign of the number absent.
The sign depends on the scale. A ReLU cuts what lies below zero: with two effects that add up but start below zero,
f = 0, 0, 0 and 1 at the corners looks like synergy. `diagnose_floor` therefore gives the share of corners at zero and
the interaction on each scale; where signs differ, the word synergy must name its scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechscope.core import UsageError

__all__ = ["FloorDiagnosis", "Scale", "corner_sets", "corner_signs", "diagnose_floor", "on_scale", "take_differences"]

Scale = Literal["activation", "pre_relu", "log1p"]


@dataclass(frozen=True)
class FloorDiagnosis:
    """The part that the floor plays in differences over contexts.

    Attributes:
        n_contexts: contexts looked at.
        zero_share_by_corner: share of contexts at zero in each corner, in the order of `corner_sets`.
        zero_share: share of all corners at zero.
        touched_share: share of contexts with any corner at zero: the others owe nothing to the floor.
        mean_by_scale: mean difference on each scale that can be taken.
        mean_untouched: mean difference on the activation scale over contexts without a corner at zero; None if none.
        sign_changes: pairs of scales whose means have opposite signs.
        is_floor_made: the mean difference on the activation scale has a sign
            that the mean of the pre-ReLU values has not. None without pre-ReLU values.
    """

    n_contexts: int
    zero_share_by_corner: tuple[float, ...]
    zero_share: float
    touched_share: float
    mean_by_scale: Mapping[Scale, float]
    mean_untouched: float | None
    sign_changes: tuple[tuple[Scale, Scale], ...]
    is_floor_made: bool | None


def corner_sets(contexts: np.ndarray, players: Sequence[int]) -> np.ndarray:
    """Contexts with `players` absent and present in all combinations: boolean [n, 2 ** k, n_players].

    Bit b of the corner's number says that `players[b]` is present: none, first, second, both (third, ...).
    """
    corners = np.repeat(contexts[:, None], 1 << len(players), axis=1)
    numbers = np.arange(1 << len(players))
    for bit, player in enumerate(players):
        corners[:, :, player] = numbers >> bit & 1
    return corners


def corner_signs(order: int) -> np.ndarray:
    """Sign of each of the 2 ** order corners in the difference: + when an even number of players is absent."""
    n_absent = order - np.bitwise_count(np.arange(1 << order, dtype=np.uint8)).astype(np.int64)
    return np.where(n_absent % 2, -1.0, 1.0)


def take_differences(corners: np.ndarray) -> np.ndarray:
    """Difference in each context, float64 [n], from values at the corners [n, 2 ** k] in the order of `corner_sets`."""
    order = corners.shape[1].bit_length() - 1 if corners.ndim == 2 else 0
    if order < 1 or corners.shape[1] != 1 << order:
        raise UsageError(
            f"corners of shape {corners.shape}",
            expected="[n, 2 ** k], k >= 1",
            todo="give every combination of players",
        )
    differences: np.ndarray = corners.astype(np.float64) @ corner_signs(order)
    return differences


def on_scale(activations: np.ndarray, scale: Scale, *, pre_relu: np.ndarray | None = None) -> np.ndarray:
    """Values on a scale, float64 of the same shape.

    Raises:
        UsageError: "pre_relu" without values before the ReLU, or "log1p" of negative activations.
    """
    if scale == "pre_relu":
        if pre_relu is None or pre_relu.shape != activations.shape:
            raise UsageError(
                "the scale pre_relu without values before the ReLU for each activation",
                expected="pre_relu of the shape of the activations",
                todo="ask the dictionary for its values before the activation function, or take another scale",
            )
        return pre_relu.astype(np.float64)
    values = activations.astype(np.float64)
    if scale == "activation":
        return values
    if values.size and values.min() < 0:
        raise UsageError(f"log1p of {values.min()}", expected="activations of 0 or more", todo="take another scale")
    return np.log1p(values)


def diagnose_floor(
    corners: np.ndarray, *, pre_relu: np.ndarray | None = None, tolerance: float = 1e-6
) -> FloorDiagnosis:
    """What the floor at zero does to the mean difference of activations at `corners` [n, 2 ** k].

    Args:
        corners: activations, 0 or more, in the order of `corner_sets`; at least one context.
        pre_relu: values before the ReLU, of the same shape, where they exist.
        tolerance: mean differences within this of 0 have no sign.

    Raises:
        UsageError: no context, negative activations, or shapes that do not fit.
    """
    if not len(corners):
        raise UsageError("no context", expected="at least one", todo="widen the slice that contexts are drawn from")
    scales: tuple[Scale, ...] = ("activation", "log1p") if pre_relu is None else ("activation", "log1p", "pre_relu")
    differences = {scale: take_differences(on_scale(corners, scale, pre_relu=pre_relu)) for scale in scales}
    means = {scale: float(values.mean()) for scale, values in differences.items()}
    signs = {scale: 0 if abs(mean) <= tolerance else int(np.sign(mean)) for scale, mean in means.items()}
    changes = [(a, b) for i, a in enumerate(scales) for b in scales[i + 1 :] if signs[a] * signs[b] < 0]
    is_zero = corners <= 0
    is_free = ~is_zero.any(axis=1)
    return FloorDiagnosis(
        n_contexts=len(corners),
        zero_share_by_corner=tuple(is_zero.mean(axis=0).tolist()),
        zero_share=float(is_zero.mean()),
        touched_share=float(1 - is_free.mean()),
        mean_by_scale=means,
        mean_untouched=float(differences["activation"][is_free].mean()) if is_free.any() else None,
        sign_changes=tuple(changes),
        is_floor_made=None if pre_relu is None else 0 != signs["activation"] != signs["pre_relu"],
    )
