"""Writing edits into one site's value: heads and neurons by themselves, and only at the positions asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, apply_edit, require_apart
from mechscope.models.points import narrow, widen

__all__ = ["keys_at", "write_edits"]


def write_edits(
    edits: Sequence[Edit],
    value: Tensor,
    batch: Batch,
    *,
    keys: Bool[Tensor, "batch keys"] | None = None,
    copies: bool = False,
) -> Tensor:
    """The value of a whole site after its edits, in their order; `value` is not changed.

    Args:
        edits: what to write.
        value: what was found at the site.
        batch: the tokens along the site's positions (of a pattern, the queries').
        keys: of a pattern, the mask of its keys' tokens, where they are others than the batch's. A pattern keeps what
            it was where a key or a query is padding: what stands there is nobody's, and an edit must not look at it.
        copies: give the network a tensor of its own, since it may write into what it is given.

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
        if edit.site.kind.endswith("pattern"):
            new = new.where(_real_pairs(old, batch, batch.attention_mask.bool() if keys is None else keys), old)
        value = widen(edit.site, value, new)
    return value.clone() if copies else value


def keys_at(site: LayerComponent, whole: Batch) -> Bool[Tensor, "batch keys"] | None:
    """The mask of a cross pattern's keys, which are the encoder's tokens; None for other sites."""
    return whole.attention_mask.bool() if site.kind == "cross_pattern" else None


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


def _real_pairs(pattern: Tensor, batch: Batch, keys: Bool[Tensor, "batch keys"]) -> Bool[Tensor, "..."]:
    """Where neither the query nor the key is padding, [batch (1) queries keys]; of the batch's rows 1 without padding.

    An axis that is none of tokens (patches of an image, a sink) has no padding.
    """
    queries, (n_queries, n_keys) = batch.attention_mask.bool(), pattern.shape[-2:]
    queries = queries if queries.shape[1] == n_queries else queries.new_ones(1, n_queries)
    n_more = n_keys - keys.shape[1]
    if n_more < 0 and batch.n_before is not None:  # while generating, a sliding window shows the last keys
        keys = keys[:, -n_keys:]
    elif n_more < 0:
        keys = keys.new_ones(1, n_keys)
    else:  # places of a cache that are not filled yet, and sinks, stand behind the tokens
        keys = torch.cat([keys, keys.new_ones(len(keys), n_more)], dim=1)
    found = (queries.unsqueeze(-1) & keys.unsqueeze(-2)).to(pattern.device)
    return found if pattern.ndim == 3 else found.unsqueeze(1)
