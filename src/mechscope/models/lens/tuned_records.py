"""How a tuned lens was fitted, and how well it reads held-out rows beside the logit lens."""

from __future__ import annotations

from pydantic import Field

from mechscope.core import LayerComponent, Spec

__all__ = ["Estimate", "SiteScore", "TunedLensRecord", "TunedLensScores", "TunedLensSpec"]


class TunedLensSpec(Spec):
    """How a tuned lens is fitted.

    Attributes:
        n_steps: optimiser steps, one batch each; batches come in a seeded order, a new one each time round.
        lr: first learning rate of Adam; it falls to zero in equal steps.
        max_tokens: real tokens of a batch that are learnt from in a step, drawn by seed (pooled models: all).
        seed: root of the order of batches and of the draws of tokens.
    """

    n_steps: int = Field(default=250, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    max_tokens: int = Field(default=512, ge=1)
    seed: int = 0


class Estimate(Spec):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class SiteScore(Spec):
    """KL(model's output || lens) in nats a reading at one site, on the held-out rows.

    `difference` is tuned less logit on the same readings: below zero where the tuned lens is closer to the output.
    """

    site: LayerComponent
    logit: Estimate
    tuned: Estimate
    difference: Estimate


class TunedLensScores(Spec):
    """The scores of all sites, with what they were measured on.

    `n_repeated_rows` held-out rows also stand in the training rows; they were left out and are not in `n_rows`.
    """

    sites: tuple[SiteScore, ...]
    n_rows: int
    n_readings: int
    n_repeated_rows: int
    interval: str


class TunedLensRecord(Spec):
    """What a tuned lens is and where it comes from; what `tuned_lens.json` holds.

    Attributes:
        model, weights_digest: the model that it belongs to.
        sites: the streams that have a translator, in the order of the weights' first axis.
        losses: mean KL over the sites at each step, before the step, in nats.
    """

    model: str
    weights_digest: str
    d_model: int
    sites: tuple[LayerComponent, ...]
    spec: TunedLensSpec
    n_train_rows: int
    losses: tuple[float, ...]
    scores: TunedLensScores
    device: str
    dtype: str
    wall_seconds: float
    versions: dict[str, str]
