"""Gaussian noise at a site.

The noise of a row is drawn on the CPU in float32, token by token, from a generator whose seed follows from the edit's
seed, the site and what the row holds (tokens and extra inputs). So it does not depend on the batch, its order, padding
or device, differs from row to row, position to position and site to site, and comes again with the same seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mechscope.core import LayerComponent, UsageError, derive_seed
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, Positions, Scope
from mechscope.models.interventions.contents import row_keys
from mechscope.models.interventions.fitting import acted_on, finite, is_pattern, like, require_shape, shape_behind

__all__ = ["noise"]


def noise(
    site: LayerComponent,
    scale: Tensor | float,
    *,
    seed: int,
    relative: bool = False,
    at: Positions | None = None,
    scope: Scope = "all",
) -> Edit:
    """Add independent Gaussian noise at every real position.

    Args:
        scale: the standard deviation, 0 or more: a number, or a tensor of the shape behind [batch pos] at the site, for
            instance `3 * mean_value(...).std`.
        seed: see the module's text. Rows that hold the same draw the same. In a generation each step's draw follows
            from the token and its place.
        relative: take `scale` times the standard deviation of all values that the batch holds at the site, over real
            positions and axes. It depends on the batch; a measured `std` in `scale` does not.

    Raises UsageError: a scale below 0 or not finite, or a pattern; at the site, a scale of another shape.
    """
    sizes = finite("a scale of noise", torch.as_tensor(scale, dtype=torch.float32))
    if bool((sizes < 0).any()) or is_pattern(site):
        raise UsageError(
            f"noise of scale {scale} at {site}",
            expected="a standard deviation of 0 or more, at a site with one value a position",
            todo="correct the scale, or edit `z` or `attn_out` instead of the pattern",
        )

    def apply(value: Tensor, batch: Batch) -> Tensor:
        shape = shape_behind(site, value)
        if sizes.ndim:
            require_shape(site, "a scale of noise", tuple(sizes.shape), shape)
        real = acted_on(site, value, batch, None)
        old = value[real].to(torch.promote_types(value.dtype, torch.float32))
        spread = old.std(correction=0) if relative else 1.0
        counts = real.reshape(len(real), -1).sum(dim=1).tolist()
        seeds = [derive_seed(seed, "noise", str(site), key) for key in row_keys(batch)]
        drawn = torch.cat([_draw(one, count, shape) for one, count in zip(seeds, counts, strict=True)])
        value[real] = (old + like(drawn, old) * sizes.to(old) * spread).to(value.dtype)
        return value

    return Edit(site, apply, at, scope)


def _draw(seed: int, count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
