"""Whether queries, keys, values and MLP inputs are what they are called: each must act on its own head or neuron only.

All blocks are cut apart (the stream into each is detached), the network runs once with gradients, and of every block

    q   d z[last position, head h] / d q is zero but at this position and head
    k   d z[last position, head h] / d k is zero but at the key-value head of h, and reaches earlier positions
    v   the same for v
    mlp_pre   d mlp_post[neuron j] / d mlp_pre is zero but at j

The error is the largest gradient where there should be none, over the largest at all. Besides, there must be as many
queries as heads, and keys as wide as queries. This tells a wrong split of a fused projection, a wrong count of heads,
and queries taken for keys; keys taken for values show in the pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit
from mechscope.models.identities import Measured, Values
from mechscope.models.network import Network

__all__ = ["measure_isolation"]

HEAD = 1  # any; the last head but one of two would do as well
INPUTS = ("q", "k", "v")


@torch.enable_grad()
def measure_isolation(network: Network, batch: Batch, values: Values) -> Iterator[Measured]:
    """One forward and up to three backward passes of the sites in `values` (those that still stand)."""
    targets = {"": "z", "cross_": "cross_z", "mlp_pre": "mlp_post"}
    shifts = {
        site: torch.zeros_like(value, requires_grad=True)
        for site, value in values.items()
        if site.kind == "mlp_pre" or site.kind.removeprefix("cross_") in INPUTS
    }
    if not shifts:
        return
    reads = [site for site in values if site.kind in {"mlp_pre", *targets.values()}]
    edits = {site: [Edit(site, _shift(shift))] for site, shift in shifts.items()}
    ends = {"resid_post", "final_norm"}  # an encoder's, which the decoder reads
    cuts = [site for site in values if site.kind == "resid_pre" or (site.stack and site.kind in ends)]
    edits |= {site: [Edit(site, lambda value, batch: value.detach())] for site in cuts}
    outcome, _ = network.run(batch, reads, edits, keeps_graph=True)
    for prefix, target in targets.items():
        wanted = {site: shift for site, shift in shifts.items() if _prefix(site) == prefix}
        reached = {site for site in wanted if _target(site, target) in outcome.values}
        for site in wanted.keys() - reached:
            yield Measured(
                "apart", (site,), float("nan"), f"{_target(site, target)} does not stand, so it cannot be told"
            )
        if reached:
            yield from _measure(outcome.values, {site: wanted[site] for site in wanted if site in reached}, target)


def _measure(read: Values, shifts: dict[LayerComponent, Tensor], target: str) -> Iterator[Measured]:
    ends = {_target(site, target) for site in shifts}
    objective = torch.stack([_slice_of(read[end]).sum() for end in ends]).sum()
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        objective, list(shifts.values()), retain_graph=True, allow_unused=True
    )
    for site, gradient in zip(shifts, gradients, strict=True):
        if gradient is None:
            yield Measured("apart", (site,), float("nan"), f"it does not reach {_target(site, target)}")
            continue
        end = read[_target(site, target)]
        if site.kind == "mlp_pre" and torch.equal(read[site], end):
            yield Measured("apart", (site,), float("nan"), "it is mlp_post, behind the non-linearity")
            continue
        if fault := _misfit(site, shifts, end):
            heads = [_target(site, kind) for kind in (target, f"{target[:-1]}head_out") if site.kind.endswith("q")]
            yield Measured("apart", (site, *heads), float("nan"), fault)  # which of the counts is wrong nothing tells
            continue
        yield Measured("apart", (site,), _stray(site, gradient.abs(), end), _told(site))


def _slice_of(value: Tensor) -> Tensor:
    """One neuron everywhere; or one head at the last position, weighted so that no symmetry hides it."""
    if value.ndim < 4:
        return value[..., _loudest(value)]
    head = value[:, -1, HEAD % value.shape[-2]]
    return head * torch.linspace(0.5, 1.5, head.shape[-1], device=head.device, dtype=head.dtype)


def _misfit(site: LayerComponent, shifts: dict[LayerComponent, Tensor], end: Tensor) -> str:
    """What is wrong with the shape: where too few heads are counted, each still acts by itself."""
    value = shifts[site]
    if site.kind == "mlp_pre" and value.shape[-1] != end.shape[-1]:
        return f"{value.shape[-1]} inputs for {end.shape[-1]} neurons"
    if site.kind.endswith("q") and value.shape[-2] != end.shape[-2]:
        return f"{value.shape[-2]} heads of queries for {end.shape[-2]} heads"
    query = shifts.get(LayerComponent(kind=f"{site.kind[:-1]}q", layer=site.layer, stack=site.stack))
    if site.kind.endswith("k") and query is not None and query.shape[-1] != value.shape[-1]:
        return f"keys of width {value.shape[-1]} for queries of width {query.shape[-1]}"
    return ""


def _stray(site: LayerComponent, gradient: Tensor, end: Tensor) -> float:
    stray = gradient.clone()
    if site.kind == "mlp_pre":
        stray[..., _loudest(end)] = 0
    else:
        n_heads, n_own = end.shape[-2], gradient.shape[-2]
        own = HEAD % n_heads // max(n_heads // n_own, 1)
        is_query = site.kind.endswith("q")
        stray[:, slice(-1, None) if is_query else slice(None), own] = 0
        if not is_query and gradient.shape[1] > 1 and not bool((gradient[:, :-1] > 0).any()):
            return float("nan")  # keys and values act from other positions too
    return float(stray.max() / gradient.max())


def _loudest(neurons: Tensor) -> int:
    """The neuron with the largest value: one that a ReLU lets through, so that there is a gradient to measure."""
    return int(neurons.detach().abs().flatten(0, -2).amax(dim=0).argmax())


def _told(site: LayerComponent) -> str:
    return "each neuron by itself" if site.kind == "mlp_pre" else "each head by itself"


def _prefix(site: LayerComponent) -> str:
    return "mlp_pre" if site.kind == "mlp_pre" else "cross_" if site.kind.startswith("cross_") else ""


def _target(site: LayerComponent, kind: str) -> LayerComponent:
    return LayerComponent(kind=kind, layer=site.layer, stack=site.stack)


def _shift(shift: Tensor) -> Callable[[Tensor, Batch], Tensor]:
    return lambda value, batch: value + shift
