"""Where patches come from: a source's values, captured once for as many grids as are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.model import Model
from mechscope.models.sweeps.base_rows import written_side

__all__ = ["Source", "aligned", "capture_source", "sites_of"]


@dataclass(frozen=True, eq=False)
class Source:
    """The rows of a source, and their values by site [batch pos ...]."""

    batch: Batch
    values: Mapping[LayerComponent, Tensor]


def capture_source(
    model: Model, batch: Batch, *, kinds: Sequence[str] = ("resid_pre", "z"), layers: Sequence[int] | None = None
) -> Source:
    """Run a source once, for several grids of patches.

    Args:
        model: whose sites will be patched.
        batch: the rows where values come from.
        kinds: the sites, those with one value a position.
        layers: which layers; by default all.

    Costs one forward, and holds the values at all these sites.
    """
    sites = [site for kind in kinds for site in sites_of(model, kind, layers)]
    return Source(batch, model.capture(batch, sites).values)


def sites_of(model: Model, kind: str, layers: Sequence[int] | None) -> list[LayerComponent]:
    """The sites of one kind, in the order of the layers that are given; by default of all layers."""
    chosen = range(model.n_layers) if layers is None else layers
    return [site for layer in chosen for site in model.parse_sites(f"{kind}:{layer}")]


def aligned(
    model: Model, batch: Batch, source: Batch | Source, sites: Sequence[LayerComponent]
) -> dict[LayerComponent, Tensor]:
    """The source's values in the columns of the batch.

    Raises UsageError for rows of unequal length, sites without positions, and sites that a `Source` does not hold.
    """
    rows = source.batch if isinstance(source, Source) else source
    real, real_source = (written_side(one).attention_mask.bool() for one in (batch, rows))
    lengths, source_lengths = real.sum(dim=1).tolist(), real_source.sum(dim=1).tolist()
    if lengths != source_lengths:
        raise UsageError(
            f"rows of {lengths} tokens with a source of {source_lengths}",
            expected="pairs of equal length, so that positions mean the same in both",
            todo="pair rows of one length, or patch single positions with interventions.swap(at=, source_at=)",
        )
    values = source.values if isinstance(source, Source) else model.capture(source, sites).values
    found = {}
    for site in sites:
        if site not in values:
            raise UsageError(
                f"a source without {site}",
                expected="values at every site that is patched",
                todo=f"capture_source(..., kinds=({site.kind!r}, ...)) with its layer",
            )
        value = values[site]
        if value.ndim < 3 or value.shape[1] != real_source.shape[1]:
            raise UsageError(
                f"{site} with values {list(value.shape)}",
                expected="a site with one value a position",
                todo="patch another kind of site",
            )
        found[site] = value.new_zeros(*real.shape, *value.shape[2:])
        found[site][real.to(value.device)] = value[real_source.to(value.device)]
    return found
