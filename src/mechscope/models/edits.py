"""Edits: what to write at a site while the model runs, at which positions, and in which part of a generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from jaxtyping import Bool
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch

__all__ = ["Edit", "Positions", "Scope", "apply_edit", "edits_by_site", "require_apart"]

Scope: TypeAlias = Literal["all", "prompt", "generated"]


class Positions(Protocol):
    """Which positions of a batch: see `mechscope.models.positions` for those that exist."""

    def mask(self, batch: Batch) -> Bool[Tensor, "batch pos"]:
        """True where the positions are, on the batch's device.

        Raises:
            UsageError: a position that a row does not have.
        """
        ...


@dataclass(frozen=True)
class Edit:
    """Replace the value at a site; `mechscope.models.interventions` has ready-made ones (ablations, steering, swaps).

    Args:
        site: where to write; a head or neuron (`z:3.h2`) is written alone.
        apply: takes the value (a copy: writing into it is fine) and the batch, returns the new value, which has the
            same shape, dtype and device. During generation the batch holds the tokens of the step at hand.
        at: the positions where the new value is kept; None for all. For `pattern` they are the queries'.
        scope: during generation, the part in which the edit acts: the prompt, what is generated after it, or both.
            Outside of generation all is prompt, and "generated" is refused.

    Example: splice a dictionary's reconstruction into the stream after block 3, and read the loss.

        edit = Edit(site, lambda value, batch: dictionary.reconstruct(value))
        model.loss(batch, model.logits(batch, edits=[edit]))
    """

    site: LayerComponent
    apply: Callable[[Tensor, Batch], Tensor]
    at: Positions | None = None
    scope: Scope = "all"


def edits_by_site(edits: Sequence[Edit]) -> dict[LayerComponent, list[Edit]]:
    """The edits by whole site, in the order given; several may write at one site where they do not overlap.

    Raises:
        UsageError: two edits of all positions write at one place (`embed` is `resid_pre:0`), or one writes at a head
            and the other at the site it is part of. Edits of some positions are compared when the batch is known.
    """
    found: dict[LayerComponent, list[Edit]] = {}
    for edit in edits:
        for other in found.get(_place(edit.site), []):
            if edit.at is None and other.at is None and _overlap(edit, other):
                raise _collision(edit, other)
        found.setdefault(_place(edit.site), []).append(edit)
    return {edits[0].site.base: edits for edits in found.values()}


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


def require_apart(edit: Edit, mask: Tensor, taken: Sequence[tuple[Edit, Tensor]]) -> None:
    """Refuse an edit whose positions meet those of another at the same site. Raises UsageError."""
    for other, other_mask in taken:
        if _overlap(edit, other) and bool((mask & other_mask).any()):
            raise _collision(edit, other)


def _place(site: LayerComponent) -> LayerComponent:
    is_embed = site.kind == "embed"
    return LayerComponent(kind="resid_pre", layer=0, stack=site.stack) if is_embed else site.base


def _overlap(edit: Edit, other: Edit) -> bool:
    pairs = ((edit.site.head, other.site.head), (edit.site.neuron, other.site.neuron))
    are_parts_apart = any(None not in pair and pair[0] != pair[1] for pair in pairs)
    return not are_parts_apart and {edit.scope, other.scope} != {"prompt", "generated"}


def _collision(edit: Edit, other: Edit) -> UsageError:
    return UsageError(
        f"two edits write at one place: {edit.site} and {other.site}",
        expected="edits of different sites, heads, neurons or positions",
        todo="join the two functions into one edit, or give each its own positions (at=...)",
    )
