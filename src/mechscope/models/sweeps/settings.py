"""How a sweep runs, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mechscope.core import LayerComponent, Spec

__all__ = ["SweepCost", "SweepResult", "SweepSettings"]


class SweepSettings(Spec):
    """How a sweep runs.

    Args:
        max_tokens: the most positions (rows x positions) in one forward; the largest tensors of a block then hold
            max_tokens x d_mlp numbers.
        forward_tokens: what one more forward costs (reading the weights, calling the kernels), in positions; where it
            pays, variants with neighbouring first positions share a forward. About 24 on a CPU, more on a GPU.
        max_logits: the most logits held at a time where a metric reduces them.
        n_checks: how many variants, drawn at random, are run again in full and compared; unless it is 0, also one
            of each combination of functions in variants of several edits.
        tolerance: the largest relative error allowed there, max |sweep - full| / max |full|; None for 1e-5 in
            float32 (see `mechscope.models.verification`).
        seed: for that draw.
        reuses_past: in causal models, start at the first edited position with the clean keys and values before it.
    """

    max_tokens: int = Field(default=16384, ge=1)
    forward_tokens: int = Field(default=24, ge=0)
    max_logits: int = Field(default=2**26, ge=1)
    n_checks: int = Field(default=1, ge=0)
    tolerance: float | None = Field(default=None, gt=0)
    seed: int = 0
    reuses_past: bool = True


@dataclass(frozen=True)
class SweepCost:
    """Real positions times blocks that ran: in the sweep, clean runs and checks included; and one by one in full.

    The last block counts whole where it ran in part.
    """

    n_run: int
    n_full: int


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What a sweep gave, on the model's device; clean values are those without any edit.

    Args:
        logits: at the position wanted; None where they were not asked for, or where a metric took their place.
        clean_logits: the same without edits.
        metric: the metric of each variant and row; None without a metric.
        clean_metric: the same without edits.
        values: what was read, by site: [n_variants batch ...]; zero in padded places.
        clean_values: the same without edits: [batch ...].
        error: the largest relative error found when variants were run again in full; None when none was.
        reused_past: whether positions before the first edit were left out.
        cost: what was run.
    """

    logits: Float[Tensor, "n_variants batch d_vocab"] | None
    clean_logits: Float[Tensor, "batch d_vocab"] | None
    metric: Float[Tensor, "n_variants batch"] | None
    clean_metric: Float[Tensor, "batch"] | None
    values: dict[LayerComponent, Tensor]
    clean_values: dict[LayerComponent, Tensor]
    error: float | None
    reused_past: bool
    cost: SweepCost
