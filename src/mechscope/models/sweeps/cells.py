"""Variants by the grid: one for every layer and position, or every layer and head, and the way back to the grid.

    cells = residual_patches(model, clean, corrupt)
    result = model.sweep(clean, cells.variants, metric=lambda logits: logits[:, 7] - logits[:, 3])
    effect = cells.grid(result.metric - result.clean_metric)                # [layer position batch]

Several grids of one source run it once: `source = capture_source(model, corrupt, kinds=("resid_pre", "z"))`.
The batch that is swept is the base, the other the source: with a corrupt source this is noising (what breaks the
behaviour), with the two exchanged it is denoising (what restores it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, Positions
from mechscope.models.model import Model
from mechscope.models.positions import marked
from mechscope.models.sweeps.base_rows import written_side
from mechscope.models.sweeps.sources import Source, aligned, sites_of

__all__ = ["Cells", "head_edits", "head_patches", "layer_edits", "residual_patches"]

MakeEdit = Callable[[LayerComponent], Edit]


@dataclass(frozen=True, eq=False)
class Cells:
    """Variants, one a cell, in the order of the grid with the last axis running fastest.

    Args:
        variants: for `model.sweep`.
        axes: what the axes of the grid are, for example ("layer", "position").
        shape: their lengths.
        layers: the layers of the first axis.
        in_row: whether a row of the batch has the cell (a short row lacks the late positions), [n_cells batch]; None
            where every row has every cell.
    """

    variants: list[list[Edit]]
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    layers: tuple[int, ...]
    in_row: Bool[Tensor, "n_cells batch"] | None = None

    def grid(self, found: Float[Tensor, "n_cells batch"]) -> Float[Tensor, "*axes batch"]:
        """What was found for each variant and row, on the grid; NaN where a row does not have the cell."""
        if len(found) != len(self.variants):
            raise UsageError(
                f"{len(found)} results for {len(self.variants)} cells",
                expected="one for each variant, in their order",
                todo="pass the metric of a sweep of exactly these variants",
            )
        if self.in_row is not None:
            found = found.masked_fill(~self.in_row.to(found.device), float("nan"))
        return found.reshape(*self.shape, *found.shape[1:])


def residual_patches(
    model: Model, batch: Batch, source: Batch | Source, *, kind: str = "resid_pre", layers: Sequence[int] | None = None
) -> Cells:
    """A variant for every layer and position: the source's value there, in place of the batch's.

    Args:
        model: whose sites are patched.
        batch: the base rows, those that will be swept.
        source: as many rows of the same lengths, where the values come from; its padding may be on the other side.
            A `Source` where several grids have one source.
        kind: the site, one of those with positions (`resid_pre`, `resid_post`, `attn_out`, `mlp_out`, `z` ...).
        layers: which layers; by default all.

    Positions are counted among the real tokens of a row, from 0. Costs one forward of the source (none for a
    `Source`), and holds its values at the sites.

    Raises UsageError for pairs of unequal length, and for a `Source` without the sites.
    """
    sites = sites_of(model, kind, layers)
    values = aligned(model, batch, source, sites)
    side = written_side(batch)
    real, places = side.attention_mask.bool(), side.position_ids
    masks = [real & (places == place) for place in range(int(real.sum(dim=1).max()))]
    positions = [marked(mask) for mask in masks]
    in_row = torch.stack([mask.any(dim=1) for mask in masks]).repeat(len(sites), 1)
    return Cells(
        [[_writing(site, values[site], at)] for site in sites for at in positions],
        ("layer", "position"),
        (len(sites), len(masks)),
        tuple(site.layer or 0 for site in sites),
        None if bool(in_row.all()) else in_row,
    )


def head_patches(
    model: Model,
    batch: Batch,
    source: Batch | Source,
    *,
    kind: str = "z",
    at: Positions | None = None,
    layers: Sequence[int] | None = None,
) -> Cells:
    """A variant for every layer and head: the source's value of that head, at `at` (by default all positions).

    The other arguments, costs and errors are those of `residual_patches`; `kind` is a site with heads.
    """
    sites = sites_of(model, kind, layers)
    values = aligned(model, batch, source, sites)
    return _by_head(model, sites, lambda part: _writing(part, values[part.base].select(2, part.head or 0), at))


def head_edits(model: Model, make: MakeEdit, *, kind: str = "z", layers: Sequence[int] | None = None) -> Cells:
    """A variant for every layer and head, with the edit that `make` gives for the head's site.

    For example `make=zero`, or `lambda site: mean(site, mean_value(model, batches, site))`.
    """
    return _by_head(model, sites_of(model, kind, layers), make)


def layer_edits(model: Model, make: MakeEdit, *, kind: str, layers: Sequence[int] | None = None) -> Cells:
    """A variant for every layer, with the edit that `make` gives for the site of that kind."""
    sites = sites_of(model, kind, layers)
    return Cells([[make(site)] for site in sites], ("layer",), (len(sites),), tuple(site.layer or 0 for site in sites))


def _by_head(model: Model, sites: Sequence[LayerComponent], make: MakeEdit) -> Cells:
    n_heads = {model.site_shape(site)[0] for site in sites}
    if len(n_heads) > 1:
        raise UsageError(
            f"layers with {sorted(n_heads)} heads", expected="as many heads everywhere", todo="name the layers"
        )
    n = n_heads.pop()
    parts = [LayerComponent(kind=site.kind, layer=site.layer, head=head) for site in sites for head in range(n)]
    layers = tuple(site.layer or 0 for site in sites)
    return Cells([[make(part)] for part in parts], ("layer", "head"), (len(sites), n), layers)


def _writing(site: LayerComponent, value: Tensor, at: Positions | None) -> Edit:
    return Edit(site, lambda old, batch: value.to(old.device), at)
