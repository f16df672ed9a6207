"""Gradients of a metric at sites: how a small change there would move it, to first order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch, Capture, Grammar
from mechscope.models.edits import Edit
from mechscope.models.network import LOGITS, Network

__all__ = ["Gradients", "Metric", "measure_gradients"]

Metric: TypeAlias = Callable[[Capture], Tensor]


@dataclass(frozen=True, eq=False)
class Gradients:
    """The values at sites, the gradient of the metric's sum at each (same shape), and the metric as it was returned."""

    values: dict[LayerComponent, Tensor]
    gradients: dict[LayerComponent, Tensor]
    metric: Tensor


@torch.inference_mode(mode=False)
@torch.enable_grad()
def measure_gradients(
    network: Network,
    batch: Batch,
    sites: Sequence[LayerComponent],
    metric: Metric,
    *,
    reads: Sequence[LayerComponent],
    edits: Mapping[LayerComponent, Sequence[Edit]],
    grammar: Grammar,
) -> Gradients:
    """See `Model.gradients`."""
    if not sites:
        raise UsageError("gradients at no site", expected="at least one site", todo="name a site")
    if LOGITS in sites:
        raise UsageError(
            "a gradient at the logits", expected="a site inside the model", todo="differentiate the metric"
        )
    inner = [site for site in dict.fromkeys((*sites, *reads)) if site != LOGITS]
    outcome, logits = network.run(
        batch, inner, edits, wants_output=True, keeps_graph=True, differentiates=list(dict.fromkeys(sites))
    )
    assert logits is not None
    seen = {site: outcome.values[site] for site in reads if site != LOGITS}
    found = metric(Capture({**seen, LOGITS: logits} if LOGITS in reads else seen, logits, grammar))
    if not isinstance(found, Tensor) or not found.requires_grad:
        raise UsageError(
            f"the metric returned {type(found).__name__} without a gradient",
            expected="a tensor computed from the capture's logits or values",
            todo="compute the metric with torch operations, without detach or item",
        )
    leaves = outcome.leaves
    gradients: Sequence[Tensor | None] = torch.autograd.grad(found.sum(), list(leaves.values()), allow_unused=True)
    return Gradients(
        {site: outcome.values[site].detach() for site in sites},
        {
            site: torch.zeros_like(leaf) if gradient is None else gradient
            for (site, leaf), gradient in zip(leaves.items(), gradients, strict=True)
        },
        found.detach(),
    )
