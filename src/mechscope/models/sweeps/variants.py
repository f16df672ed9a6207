"""What each variant asks for: where in the network its first edit lies, and from which position of each row on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Bool
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch, reads_encoder
from mechscope.models.edits import Edit, Positions, edits_by_site
from mechscope.models.network import LOGITS, Network
from mechscope.models.sweeps.base_rows import BaseRow, written_side

__all__ = ["Variant", "read_variants"]


@dataclass(frozen=True, eq=False)
class Variant:
    """One set of edits.

    Args:
        index: its place in the caller's sequence.
        edits: by whole site, their positions looked up.
        layer: the block at whose input its rows begin.
        order: the place of its first site in the forward pass, so that rows of one site can stand together.
        starts: for each base row, the first position that is edited; None where no position of that row is.
    """

    index: int
    edits: dict[LayerComponent, list[Edit]]
    layer: int
    order: int
    starts: tuple[int | None, ...]


def read_variants(
    network: Network, batch: Batch, variants: Sequence[Sequence[Edit]], rows: Sequence[BaseRow], *, reuses_past: bool
) -> list[Variant]:
    """The variants, held against the network. Raises UsageError for edits that a sweep cannot make."""
    if not variants:
        raise UsageError("a sweep of no variant", expected="at least one set of edits", todo="pass some edits")
    order = {site: place for place, site in enumerate(network.accesses)}
    places = _Places(batch, rows, reuses_past)
    return [_read(index, edits, network, order, places) for index, edits in enumerate(variants)]


def _read(
    index: int, edits: Sequence[Edit], network: Network, order: dict[LayerComponent, int], places: _Places
) -> Variant:
    if not edits:
        raise _unsweepable(f"variant {index} has no edit", "at least one edit a variant", "leave it out")
    if any(edit.site == LOGITS for edit in edits):
        raise _unsweepable(f"variant {index} edits the logits", "sites inside the network", "edit the result")
    if any(edit.site.stack is not None for edit in edits):
        raise _unsweepable(
            f"variant {index} edits the encoder", "sites of the decoder", "run such edits one by one with model.logits"
        )
    by_site = edits_by_site([places.fixed(edit) for edit in edits])
    last = network.n_layers - 1
    layers = [last if site.layer is None and site.kind != "embed" else site.layer or 0 for site in by_site]
    by_row = zip(*(places.starts(edit) for edit in edits), strict=True)
    return Variant(
        index,
        by_site,
        min(layers),
        min(order.get(site, len(order)) for site in by_site),
        tuple(min((start for start in found if start is not None), default=None) for found in by_row),
    )


@dataclass(frozen=True, eq=False)
class _Fixed:
    """Positions whose mask is known."""

    known: Bool[Tensor, "batch pos"]

    def mask(self, batch: Batch) -> Bool[Tensor, "batch pos"]:
        return self.known


class _Places:
    """Masks and first edited positions by row, computed once for each `Positions` object."""

    def __init__(self, batch: Batch, rows: Sequence[BaseRow], reuses_past: bool) -> None:
        self.whole, self.side = batch, written_side(batch)
        self.rows = rows
        self.reuses_past = reuses_past
        self.known: dict[tuple[int, bool], tuple[_Fixed, list[int | None]]] = {}

    def fixed(self, edit: Edit) -> Edit:
        """The edit with its mask in place of what makes the mask."""
        return edit if edit.at is None else replace(edit, at=self._look_up(edit.at, edit.site)[0])

    def starts(self, edit: Edit) -> Sequence[int | None]:
        """The first edited position of each row."""
        return [0] * len(self.rows) if edit.at is None or not self.reuses_past else self._look_up(edit.at, edit.site)[1]

    def _look_up(self, at: Positions, site: LayerComponent) -> tuple[_Fixed, list[int | None]]:
        key = id(at), reads_encoder(site)
        if key not in self.known:
            mask = at.mask(self.whole if reads_encoder(site) else self.side)
            # only where the past is reused are places asked for: never with an encoder's tokens beside the decoder's
            edited = [mask[row.index, row.columns].nonzero().flatten() for row in self.rows if self.reuses_past]
            self.known[key] = _Fixed(mask), [int(places[0]) if len(places) else None for places in edited]
        return self.known[key]


def _unsweepable(seen: str, expected: str, todo: str) -> UsageError:
    return UsageError(seen, expected=expected, todo=todo)
