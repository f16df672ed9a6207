"""Edits: what to write at a site while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch

__all__ = ["Edit", "apply_edit", "edits_by_site"]


@dataclass(frozen=True)
class Edit:
    """Replace the value at a site.

    Args:
        site: where to write.
        apply: takes the value (a copy: writing into it is fine) and the batch, returns the new value, which has the
            same shape, dtype and device.

    Example: splice a dictionary's reconstruction into the stream after block 3, and read the loss.

        edit = Edit(site, lambda value, batch: dictionary.reconstruct(value))
        model.loss(batch, model.logits(batch, edits=[edit]))
    """

    site: LayerComponent
    apply: Callable[[Tensor, Batch], Tensor]


def edits_by_site(edits: Sequence[Edit]) -> dict[LayerComponent, Edit]:
    """The edits by site. Raises UsageError when two of them write at one place (`embed` is `resid_pre:0`)."""
    found: dict[LayerComponent, Edit] = {}
    places: dict[LayerComponent, Edit] = {}
    for edit in edits:
        place = LayerComponent(kind="resid_pre", layer=0) if edit.site.kind == "embed" else edit.site
        if place in places:
            raise UsageError(
                f"two edits write at {edit.site} (the other is named {places[place].site})",
                expected="one edit a site",
                todo="join the two functions into one edit",
            )
        places[place] = edit
        found[edit.site] = edit
    return found


def apply_edit(edit: Edit, value: Tensor, batch: Batch) -> Tensor:
    """The edited value; shape, dtype and device are checked here, where the site can be named. Raises UsageError."""
    new = edit.apply(value.clone(), batch)
    if not isinstance(new, Tensor):
        raise UsageError(
            f"the edit at {edit.site} returned {type(new).__name__}",
            expected=f"a tensor of shape {tuple(value.shape)}",
            todo="return the new value from the edit's function",
        )
    if new.shape != value.shape or new.dtype != value.dtype or new.device != value.device:
        raise UsageError(
            f"the edit at {edit.site} returned {tuple(new.shape)}, {new.dtype}, {new.device}",
            expected=f"{tuple(value.shape)}, {value.dtype}, {value.device}, as at that site",
            todo="return a tensor like the one that was passed in",
        )
    return new
