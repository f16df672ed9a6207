"""Checks of the attention patterns, on eager runs of their own: rows sum to one, and pattern times v is z."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models.batch import Batch
from mechscope.models.identities import Measured, Values, relative_error
from mechscope.models.network import Network
from mechscope.models.running import Outcome

__all__ = ["PatternReading", "is_pattern", "measure_patterns", "read_patterns"]


@dataclass(frozen=True)
class PatternReading:
    """One eager run: the patterns with the values and z beside them, why others could not be read, and the logits."""

    values: Values
    failures: dict[LayerComponent, str]
    logits: Tensor


def is_pattern(site: LayerComponent) -> bool:
    """Whether the site is a pattern."""
    return site.kind.endswith("pattern")


@torch.no_grad()
def read_patterns(network: Network, batch: Batch) -> PatternReading | None:
    """Read every pattern that the map gives, in one eager run; None when it gives none."""
    patterns = [site for site in network.accesses if is_pattern(site)]
    if not patterns:
        return None
    beside = [site for site in network.accesses if site.kind.removeprefix("cross_") in {"v", "z"}]
    outcome: Outcome
    outcome, logits = network.run(batch, [*patterns, *beside], wants_output=True, keeps_failures=True)
    assert logits is not None
    failures = {site: reason for site, reason in outcome.failures.items() if is_pattern(site)}
    return PatternReading(outcome.values, failures, logits)


def measure_patterns(reading: PatternReading, *, head_clip: float | None = None) -> Iterator[Measured]:
    """Both identities for every pattern that was read; the map's `head_clip` lies between v and z."""
    for site, pattern in reading.values.items():
        if not is_pattern(site):
            continue
        sums = pattern.sum(dim=-1)
        yield Measured(
            "weights", (site,), relative_error(sums, torch.ones_like(sums)), "rows of the pattern sum to one"
        )
        value = reading.values.get(value_site := _beside(site, "v"))
        z = reading.values.get(_beside(site, "z"))
        if value is not None and z is not None:
            value = value if head_clip is None else value.clamp(-head_clip, head_clip)
            error = relative_error(_mixed(pattern, value), z)
            yield Measured("mix", (site, value_site), error, "pattern times v = z")


def _mixed(pattern: Tensor, value: Tensor) -> Tensor:
    """Sum over keys of [batch heads q k] times [batch k kv_heads d_head], each kv head for its group of heads."""
    n_heads, n_own = pattern.shape[1], value.shape[-2]
    if n_heads % n_own or pattern.shape[-1] != value.shape[1]:
        return torch.tensor(float("nan"))
    repeated = value.repeat_interleave(n_heads // n_own, dim=-2)
    return torch.einsum("bhqk,bkhd->bqhd", pattern.to(value.dtype), repeated)


def _beside(site: LayerComponent, kind: str) -> LayerComponent:
    prefix = "cross_" if site.kind.startswith("cross_") else ""
    return LayerComponent(kind=prefix + kind, layer=site.layer, stack=site.stack)
