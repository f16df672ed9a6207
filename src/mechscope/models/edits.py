"""Edits: what to write at a site while the model runs, at which positions, and in which part of a generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

from jaxtyping import Bool
from torch import Tensor

from mechscope.core import LayerComponent, UsageError, unknown_name
from mechscope.models.batch import Batch

__all__ = ["Edit", "Positions", "Scope", "apply_edit", "edits_by_site", "require_apart"]

Scope: TypeAlias = Literal["all", "prompt", "generated"]
SCOPES: tuple[str, ...] = get_args(Scope)


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

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise unknown_name("scope of an edit", str(self.scope), SCOPES)
        if not isinstance(self.site, LayerComponent):
            raise _mistyped("site", self.site, "a site, for example model.site('resid_post:1')")
        if self.at is not None and not hasattr(self.at, "mask"):
            raise _mistyped("at", self.at, "positions, for example from_right(0) or parse_positions('last')")


def edits_by_site(edits: Sequence[Edit]) -> dict[LayerComponent, list[Edit]]:
    """The edits by whole site, in the order given; several may write at one site where they do not overlap.

    Raises:
        UsageError: two edits of all positions write at one place (`embed` is `resid_pre:0`, and `resid_post:0` is
            `resid_pre:1`), or one writes at a head and the other at the site it is part of. Edits of some positions
            are compared when the batch is known.
    """
    found: dict[LayerComponent, list[Edit]] = {}
    for edit in edits:
        for other in found.get(_place(edit.site), []):
            if edit.at is None and other.at is None and _overlap(edit, other):
                raise _collision(edit, other)
        found.setdefault(_place(edit.site), []).append(edit)
    return {edits[0].site.base: edits for edits in found.values()}


def apply_edit(edit: Edit, value: Tensor, batch: Batch) -> Tensor:
    """The edited value; shape, dtype and device are checked here, where the site can be named. Raises UsageError.

    What the edit's function returned is copied where it is a view of fewer numbers than it shows (an expanded scalar).
    """
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
    is_expanded = any(step == 0 and size > 1 for step, size in zip(new.stride(), new.shape, strict=True))
    return new.contiguous() if is_expanded else new


def require_apart(edit: Edit, mask: Tensor, taken: Sequence[tuple[Edit, Tensor]]) -> None:
    """Refuse an edit whose positions meet those of another at the same site. Raises UsageError."""
    for other, other_mask in taken:
        if _overlap(edit, other) and bool((mask & other_mask).any()):
            raise _collision(edit, other)


def _place(site: LayerComponent) -> LayerComponent:
    """The site under one name: a block's output is the next one's input."""
    layer = 0 if site.kind == "embed" else None if site.layer is None else site.layer + 1
    is_boundary = site.kind in {"embed", "resid_post"}
    return LayerComponent(kind="resid_pre", layer=layer, stack=site.stack) if is_boundary else site.base


def _overlap(edit: Edit, other: Edit) -> bool:
    pairs = ((edit.site.head, other.site.head), (edit.site.neuron, other.site.neuron))
    are_parts_apart = any(None not in pair and pair[0] != pair[1] for pair in pairs)
    return not are_parts_apart and {edit.scope, other.scope} != {"prompt", "generated"}


def _mistyped(name: str, value: Any, expected: str) -> UsageError:
    return UsageError(f"{name}={value!r} in an edit", expected=expected, todo=f"pass {name} as that type")


def _collision(edit: Edit, other: Edit) -> UsageError:
    return UsageError(
        f"two edits write at one place: {edit.site} and {other.site}",
        expected="edits of different sites, heads, neurons or positions",
        todo="join the two functions into one edit, or give each its own positions (at=...)",
    )
