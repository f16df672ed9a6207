"""Writing edits into one site's value: heads and neurons by themselves, and only at the positions asked for."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Bool
from torch import Tensor

from mechscope.core import UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, apply_edit, require_apart
from mechscope.models.points import narrow, widen

__all__ = ["write_edits"]


def write_edits(edits: Sequence[Edit], value: Tensor, batch: Batch, *, copies: bool = False) -> Tensor:
    """The value of a whole site after its edits, in their order; `value` is not changed.

    `copies`: give the network a tensor of its own, since it may write into what it is given.

    Raises:
        UsageError: a new value of the wrong shape, a scope that only a generation has, positions at a site without
            them, positions of another length than the site's, or two edits that meet.
    """
    taken: list[tuple[Edit, Tensor]] = []
    for edit in edits:
        if edit.scope == "generated":
            raise UsageError(
                f"an edit at {edit.site} of scope 'generated' outside of a generation",
                expected="scope 'all' or 'prompt'",
                todo="use model.generate, or drop the scope",
            )
        old = narrow(edit.site, value)
        new = apply_edit(edit, old, batch)
        if edit.at is not None or len(edits) > 1:
            mask = batch.attention_mask.bool() if edit.at is None else edit.at.mask(batch)
            require_apart(edit, mask, taken)
            taken.append((edit, mask))
            new = new if edit.at is None else new.where(position_mask(edit, mask, old), old)
        value = widen(edit.site, value, new)
    return value.clone() if copies else value


def position_mask(edit: Edit, mask: Bool[Tensor, "batch pos"], value: Tensor) -> Bool[Tensor, "..."]:
    """The mask of positions in the axes of a site's value: [batch pos 1 ...], for patterns the queries' axis."""
    axis = value.ndim - 2 if edit.site.kind.endswith("pattern") else 1
    if value.ndim <= axis or value.shape[0] != mask.shape[0] or value.shape[axis] != mask.shape[1]:
        raise UsageError(
            f"positions [batch pos] = {list(mask.shape)} for {edit.site}, whose value is {list(value.shape)}",
            expected="a site with the batch's positions",
            todo="drop the positions (at=...) for a site without them",
        )
    shape = [1] * value.ndim
    shape[0], shape[axis] = mask.shape
    return mask.to(value.device).reshape(shape)
