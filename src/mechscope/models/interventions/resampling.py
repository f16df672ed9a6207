"""Resampling: row i takes from a row of a source that is drawn for it, at the same places."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mechscope.core import LayerComponent, UsageError, derive_seed
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, Positions, Scope
from mechscope.models.interventions.contents import row_keys
from mechscope.models.interventions.fitting import acted_on, is_pattern, like, require_shape, shape_behind
from mechscope.models.interventions.sources import Source, require_whole_rows

__all__ = ["resample"]


def resample(
    site: LayerComponent,
    source: Source,
    *,
    seed: int,
    align: Literal["left", "right"] = "left",
    at: Positions | None = None,
    scope: Scope = "prompt",
) -> Edit:
    """Write what another row holds, drawn at random: a value that the network knows, of an input that it does not see.

    Each row takes all its positions from one row of the source. Rows that hold the same as the target row (tokens and
    extra inputs) are never drawn, nor those too short for the positions edited. The draw follows from the seed, what
    the target row holds and the order of the source: the same in any batch. One seed draws the same row at every site.

    Args:
        source: what is drawn from, for instance the batch's own capture.
        align: the place of each token is counted from this side of its row.
        scope: "prompt" by default, since a source has no values for what is generated.

    Raises (at the site):
        UsageError: a pattern, values of another shape, or a row for which no row of the source will do.
    """
    if is_pattern(site):
        raise UsageError(f"resampling {site}", expected="a site with one value a position", todo="use `swap`")
    real = acted_on(site, source.values, source.batch, None)
    columns = real.long().argsort(dim=-1, descending=True, stable=True)  # where each row's n-th token stands
    keys, lengths = row_keys(source.batch), real.reshape(len(real), -1).sum(dim=1)

    def apply(value: Tensor, batch: Batch) -> Tensor:
        require_whole_rows(site, batch)
        require_shape(site, "source values", shape_behind(site, source.values), shape_behind(site, value))
        target = acted_on(site, value, batch, at)
        reach, distance = _reaches(acted_on(site, value, batch, None), target, align)
        drawn = torch.tensor(_draw(site, seed, row_keys(batch), reach, keys, lengths.tolist()), device=value.device)
        values = like(source.values, value)
        if target.ndim == 1:
            return values[drawn]
        row = drawn[target.nonzero()[:, 0]]
        place = distance[target]
        place = place if align == "left" else lengths.to(value.device)[row] - 1 - place
        value[target] = values[row, columns.to(value.device)[row, place]]
        return value

    return Edit(site, apply, at, scope)


def _reaches(real: Tensor, target: Tensor, align: str) -> tuple[list[int], Tensor]:
    """How many tokens a source row needs for each target row, and each token's place from the side that is counted."""
    if real.ndim == 1:
        return [0] * len(real), real.long()
    distance = real.cumsum(dim=1) - 1
    if align == "right":
        distance = real.sum(dim=1, keepdim=True) - 1 - distance
    return ((distance + 1) * target).amax(dim=1).tolist(), distance


def _draw(
    site: LayerComponent, seed: int, keys: list[str], reach: list[int], source_keys: list[str], lengths: list[int]
) -> list[int]:
    drawn = []
    for row, key in enumerate(keys):
        fit = [index for index, other in enumerate(source_keys) if other != key and lengths[index] >= reach[row]]
        if not fit:
            raise UsageError(
                f"no row to draw for row {row} at {site} among {len(source_keys)} of the source",
                expected=f"a row with other contents and at least {reach[row]} tokens",
                todo="read the source on more or longer rows",
            )
        drawn.append(fit[derive_seed(seed, "resample", key) % len(fit)])
    return drawn
