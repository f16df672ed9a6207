"""The check of a sweep: some of its variants run again in full, through the same door as any other run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, edits_by_site
from mechscope.models.network import Network
from mechscope.models.own_forward import NextForward
from mechscope.models.sweeps.base_rows import written_side
from mechscope.models.sweeps.gathered_head import GatheredHead
from mechscope.models.turns import turn
from mechscope.models.verification import TOLERANCES

__all__ = ["check_variant", "draw_variants", "relative_error"]


def draw_variants(variants: Sequence[Sequence[Edit]], n_checks: int, seed: int) -> list[int]:
    """Which variants are run again: distinct, drawn with the seed; and one of each way to join several edits.

    A variant of several edits is where an edit could see what another did to other rows, which a sweep cannot give it
    (a swap inside the batch behind another edit): so one of each combination of functions is always run again.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(variants), generator=generator)[:n_checks].tolist() if n_checks else []
    joined: dict[object, int] = {}
    for index, edits in enumerate(variants):
        if len(edits) > 1 and n_checks:
            joined.setdefault(tuple(_function(edit) for edit in edits), index)
    return list(dict.fromkeys([*drawn, *joined.values()]))


def _function(edit: Edit) -> object:
    """What tells one kind of edit from another: its function's code, apart from what it closes over."""
    return getattr(edit.apply, "__code__", edit.apply)


def check_variant(
    network: Network,
    batch: Batch,
    variant: tuple[int, Sequence[Edit]],
    *,
    swept: tuple[Mapping[LayerComponent, Tensor], Tensor | None],
    columns: Tensor | None,
    tolerance: float | None,
) -> float:
    """Run one variant in full and compare.

    Args:
        network: what was swept.
        batch: the whole batch, as it was given.
        variant: its number and its edits.
        swept: what the sweep read, by site [batch ...], and its logits [batch d_vocab], None when there are none.
        columns: the column of each row whose logits these are; the output head runs there only.
        tolerance: the largest relative error allowed; None for what the check at open allows.

    Returns the largest relative error. Raises BadDataError when it is not within the tolerance.
    """
    (index, edits), (values, logits) = variant, swept
    head = GatheredHead(network)
    head.is_last = True
    with ExitStack() as stack:
        stack.enter_context(turn())
        if columns is not None:
            head.hang(stack, NextForward(), columns)
        outcome, _ = network.run(batch, list(values), edits_by_site(edits), wants_output=logits is not None)
    errors = {str(site): relative_error(value, outcome.values[site], site, batch) for site, value in values.items()}
    if logits is not None:
        head.keep_output(outcome.output)
        errors["logits"] = _relative(logits, head.take())
    dtype = next(iter(network.module.parameters())).dtype
    allowed = TOLERANCES.get(dtype, TOLERANCES[torch.float32]) if tolerance is None else tolerance
    worst = max(errors, key=lambda name: errors[name] if errors[name] == errors[name] else float("inf"))
    if not errors[worst] <= allowed:
        raise BadDataError(
            f"variant {index} of the sweep differs at {worst} from its full run by {errors[worst]:.1e} "
            f"(allowed {allowed:.0e})",
            expected="edits that give the same values each time and treat rows apart, and a model whose blocks pass on "
            "nothing but the stream and causal keys and values",
            todo="try SweepSettings(reuses_past=False), or run the edits one by one with model.logits",
        )
    return errors[worst]


def relative_error(found: Tensor, full: Tensor, site: LayerComponent, batch: Batch) -> float:
    """max |found - full| / max |full| over real positions."""
    real = written_side(batch).attention_mask.bool().to(full.device)
    if site.kind.endswith("pattern") and full.shape[-1] == real.shape[1]:
        shown = (real.unsqueeze(-1) & real.unsqueeze(-2)).unsqueeze(1)
        shown = shown if full.ndim == 4 else shown.squeeze(1)
    elif full.ndim > 1 and full.shape[1] == real.shape[1]:
        shown = real.reshape(*real.shape, *[1] * (full.ndim - 2))
    else:
        return _relative(found, full)
    return _relative(found.where(shown, 0.0), full.where(shown, 0.0))


def _relative(found: Tensor, full: Tensor) -> float:
    error = (found.double() - full.double()).abs().max() / full.double().abs().max().clamp(min=1e-300)
    return float(error)
