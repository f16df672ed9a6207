"""Edits that write given values: zero, mean, any tensor, or the value times a factor."""

from __future__ import annotations

import torch
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, Positions, Scope
from mechscope.models.interventions.averages import SiteMean
from mechscope.models.interventions.fitting import (
    has_positions,
    like,
    require_positions,
    require_shape,
    shape_behind,
    spread_over,
)

__all__ = ["mean", "scale", "set_value", "zero"]


def zero(site: LayerComponent, *, at: Positions | None = None, scope: Scope = "all") -> Edit:
    """Write zeros. Zero is seldom a value that the network knows: `mean` and `resample` stay closer to it."""
    return Edit(site, lambda value, batch: torch.zeros_like(value), at, scope)


def set_value(site: LayerComponent, new: Tensor | float, *, at: Positions | None = None, scope: Scope = "all") -> Edit:
    """Write a number or a tensor.

    Args:
        new: whatever broadcasts to the site's value [batch pos ...]; it goes to the value's dtype and device.

    Raises:
        UsageError: NaN now; at the site, a shape that does not broadcast to the value's.
    """
    tensor = torch.as_tensor(new)
    if bool(torch.isnan(tensor).any()):  # infinity may be meant: a logit that is never drawn
        raise UsageError(f"NaN to be written at {site}", expected="numbers", todo="look at where they come from")
    return Edit(site, lambda value, batch: spread_over(site, "a value", tensor, value), at, scope)


def scale(site: LayerComponent, factor: Tensor | float, *, at: Positions | None = None, scope: Scope = "all") -> Edit:
    """Multiply the value by a number, or by a tensor that broadcasts to it (`[n_heads, 1]` at `z`: one a head).

    Raises UsageError at the site when the tensor does not broadcast.
    """
    tensor = torch.as_tensor(factor)
    return Edit(site, lambda value, batch: value * spread_over(site, "a factor", tensor, value), at, scope)


def mean(site: LayerComponent, value: SiteMean | Tensor, *, at: Positions | None = None, scope: Scope = "all") -> Edit:
    """Write the site's mean over a reference set in place of its value.

    Args:
        value: from `mean_value`, or a tensor: `[*shape]`, one for all positions, or `[place *shape]`, one for each
            place among the real tokens of a row, where `shape` is what lies behind [batch pos] at the site. In a
            generation places go on behind the prompt.

    Raises (at the site):
        UsageError: a mean of another shape; a row with more places than were averaged; a `SiteMean` of another site.
    """
    if isinstance(value, SiteMean) and value.site != site:
        raise UsageError(
            f"the mean of {value.site} at {site}", expected=f"the mean of {site}", todo="average that site instead"
        )
    average = value.value if isinstance(value, SiteMean) else value

    def apply(old: Tensor, batch: Batch) -> Tensor:
        shape = shape_behind(site, old)
        if has_positions(site, old) and average.ndim == len(shape) + 1:
            require_shape(site, "a mean for each place", tuple(average.shape[1:]), shape)
            return like(_by_place(site, average, old, batch), old)
        require_shape(site, "a mean", tuple(average.shape), shape)
        return like(average, old).expand(old.shape)

    return Edit(site, apply, at, scope)


def _by_place(site: LayerComponent, average: Tensor, value: Tensor, batch: Batch) -> Tensor:
    require_positions(site, value, batch, "a mean for each place")
    n_places = int(batch.position_ids.max()) + 1
    if n_places > len(average):
        raise UsageError(
            f"means of {len(average)} places at {site} for a row of {n_places} tokens",
            expected=f"{n_places} means at least",
            todo="average over rows that are as long, or take one mean for all positions",
        )
    return average[batch.position_ids.to(average.device)]
