"""Trials on two short rows: padding, writing back, and edits that must move the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit
from mechscope.models.identities import Values, relative_error
from mechscope.models.inputs import output_logits
from mechscope.models.network import LOGITS, Network

__all__ = [
    "dead_sites",
    "keeps_outputs_with_positions",
    "pad_batch",
    "padding_errors",
    "path_shape",
    "probe_batch",
    "unfaithful_sites",
]

N_ROWS = 2
ROW_LENGTH = 5
N_PADDED = 3
N_DECODED = 4
SEED = 20231
SAME_OUTPUTS = 1e-3


def probe_batch(network: Network) -> Batch:
    """Two unpadded rows of seeded random tokens (and extra ids, decoder tokens, or values in place of tokens)."""
    generator = torch.Generator().manual_seed(SEED)
    component_map = network.component_map
    length = min(ROW_LENGTH, component_map.max_positions or ROW_LENGTH)
    ids = torch.randint(network.n_ids, (N_ROWS, length), generator=generator)
    extra = {
        name: torch.randint(limit, (N_ROWS,), generator=generator) for name, limit in component_map.extra_ids.items()
    }
    if component_map.encoder is not None:
        extra["decoder_input_ids"] = torch.randint(network.n_ids, (N_ROWS, N_DECODED), generator=generator)
    if component_map.value_inputs:
        ids = torch.zeros((N_ROWS, 1), dtype=torch.int64)
        extra |= {
            name: torch.randn((N_ROWS, *shape), generator=generator).to(network.dtype)
            for name, shape in component_map.value_inputs.items()
        }
    return Batch(ids, torch.ones_like(ids), extra)


@torch.no_grad()
def path_shape(network: Network, site: LayerComponent) -> tuple[int, ...]:
    """The shape behind batch and positions of a site that is named by a module's path. One short forward."""
    outcome, _ = network.run(probe_batch(network), [site.base])
    return tuple(outcome.values[site.base].shape[2:])


def pad_batch(batch: Batch, *, left: bool) -> Batch:
    """The same rows with three places of padding on one side."""
    blank = torch.zeros((batch.n_rows, N_PADDED), dtype=torch.int64, device=batch.input_ids.device)

    def joined(tensor: Tensor) -> Tensor:
        return torch.cat([blank, tensor] if left else [tensor, blank], dim=1)

    return Batch(joined(batch.input_ids), joined(batch.attention_mask), batch.extra)


@torch.no_grad()
def keeps_outputs_with_positions(network: Network, batch: Batch) -> bool:
    """Whether unpadded rows give the same logits with our positions as with those that forward makes by itself."""
    if not network.signature.takes_positions:
        return True
    device_batch = batch.to(network.device)
    with network.turn_for(()):
        seen, told = (
            output_logits(network.module(**network.signature.arguments(device_batch, with_positions=with_positions)))
            for with_positions in (True, False)
        )
    return relative_error(seen, told) <= SAME_OUTPUTS


@torch.no_grad()
def padding_errors(
    network: Network, batch: Batch, values: Values, logits: Tensor, *, left: bool
) -> dict[LayerComponent, float]:
    """How far padding moves each site at the real tokens, relative to the site's largest value."""
    padded = pad_batch(batch, left=left)
    sites = [site for site in values if site in network.accesses]
    outcome, padded_logits = network.run(padded, sites, wants_output=True)
    assert padded_logits is not None
    real = slice(N_PADDED, None) if left else slice(None, batch.input_ids.shape[1])
    width = padded.input_ids.shape[1]
    pairs = {site: (outcome.values[site], values[site]) for site in sites} | {LOGITS: (padded_logits, logits)}
    return {site: relative_error(_real_part(seen, told, real, width), told) for site, (seen, told) in pairs.items()}


def _real_part(seen: Tensor, told: Tensor, real: slice, width: int) -> Tensor:
    """The real positions of a padded value, along every axis that has the padded width where `told` has it not."""
    for axis in range(1, seen.ndim):
        if seen.ndim == told.ndim and seen.shape[axis] == width != told.shape[axis]:
            seen = seen[(slice(None),) * axis + (real,)]
    return seen


@torch.no_grad()
def unfaithful_sites(
    network: Network, batch: Batch, sites: Sequence[LayerComponent], logits: Tensor
) -> set[LayerComponent]:
    """The sites where writing back what was read changes a bit of the logits. One forward, more only on a fault."""
    if _is_faithful(network, batch, sites, logits):
        return set()
    return {site for site in sites if not _is_faithful(network, batch, [site], logits)}


def _is_faithful(network: Network, batch: Batch, sites: Sequence[LayerComponent], logits: Tensor) -> bool:
    edits = {site: [Edit(site, lambda value, batch: value)] for site in sites}
    try:
        _, again = network.run(batch, (), edits, wants_output=True)
    except RuntimeError:  # a value that cannot be written back is what is looked for here
        return False
    return again is not None and torch.equal(again, logits)


def dead_sites(network: Network, batch: Batch, values: Values, logits: Tensor) -> set[LayerComponent]:
    """The sites where an edit does not reach the logits: their gradient is zero, and so is the effect of a trial."""
    quiet = [site for site, size in _gradient_sizes(network, batch, values).items() if not size > 0]
    return {site for site in quiet if not _moves(network, batch, site, logits)}


def _gradient_sizes(network: Network, batch: Batch, values: Values) -> Mapping[LayerComponent, float]:
    shifts = {site: torch.zeros_like(value, requires_grad=True) for site, value in values.items()}
    edits = {site: [Edit(site, _shift_by(shift))] for site, shift in shifts.items()}
    with torch.enable_grad():
        _, logits = network.run(batch, (), edits, wants_output=True)
        if logits is None or not logits.requires_grad:
            return dict.fromkeys(shifts, 0.0)
        weights = torch.linspace(-1.0, 1.0, logits.numel(), device=logits.device).reshape(logits.shape)
        gradients = torch.autograd.grad((logits * weights).sum(), list(shifts.values()), allow_unused=True)
    return {
        site: 0.0 if gradient is None else float(gradient.abs().max())
        for site, gradient in zip(shifts, gradients, strict=True)
    }


def _shift_by(shift: Tensor) -> Callable[[Tensor, Batch], Tensor]:
    return lambda value, batch: value + shift


@torch.no_grad()
def _moves(network: Network, batch: Batch, site: LayerComponent, logits: Tensor) -> bool:
    edit = Edit(site, lambda value, batch: value * torch.linspace(0.5, 2.0, value.shape[-1], device=value.device) + 0.5)
    _, moved = network.run(batch, (), {site: [edit]}, wants_output=True)
    return moved is not None and not torch.equal(moved, logits)
