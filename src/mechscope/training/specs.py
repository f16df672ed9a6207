"""Everything that decides how a dictionary is trained."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mechscope.core import Spec, UsageError
from mechscope.dictionaries import DictionarySpec

__all__ = ["TrainSpec"]


class TrainSpec(Spec):
    """How to train a dictionary. Exactly one of `n_steps` and `epochs`; `n_features` or else `expansion`.

    Raises UsageError when `n_features` comes with an `expansion` that is not its default. (The default beside a width
    is no contradiction: a spec written out in full holds both.)

    Dictionary:
        architecture: registered name ("topk", "relu").
        n_features: width; None takes `expansion` times the width of the activations.
        k: features kept for each sample (TopK only, where it is needed).
        options: further settings of the architecture.
    Optimiser:
        batch_size: samples a step.
        lr: peak learning rate of Adam. 3e-3 suits widths up to about 2^14 and budgets near 10^6 samples.
        lr_warmup_share: share of all steps over which it rises linearly from 0.
        lr_schedule, lr_decay_share: shape of the fall to 0 over the last share of the steps ("constant": none).
    Sparsity and dead features:
        l1_coefficient: weight of the L1 term on inputs of total variance 1 (ReLU), reached linearly over the first
            `l1_warmup_share` of the steps.
        dead_window_samples: a feature silent for so many samples counts as dead.
        aux_coefficient, k_aux: the auxiliary loss for dead features (TopK); k_aux None means d_in / 2.
        resample_every_samples: how often dead features are replaced (ReLU), not in the last half; 0 means never.
    Weights:
        decoder_norm: "free" (penalty and ranking weigh by norm) or "unit" (rows are set to norm 1 after each step).
        initial_decoder_norm: norm of the first decoder rows; the encoder is their transpose.
        center_samples: how many samples give the mean (first b_dec) and the variance (input scale).
    Running:
        checkpoint_every: steps between checkpoints. It changes no result and is not part of the key.
        log_every: steps between rows of the history; None logs about 200 times.
        n_threads: torch threads; None leaves them as they are. Equal bits need an equal number.
    """

    architecture: str
    n_features: int | None = Field(default=None, ge=1)
    expansion: float = Field(default=8.0, gt=0)
    k: int | None = Field(default=None, ge=1)
    options: dict[str, Any] = {}

    n_steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=1024, ge=1)
    lr: float = Field(default=3e-3, gt=0)
    lr_schedule: Literal["constant", "linear", "cosine"] = "linear"
    lr_warmup_share: float = Field(default=0.05, ge=0, le=1)
    lr_decay_share: float = Field(default=0.2, ge=0, le=1)

    l1_coefficient: float = Field(default=0.1, ge=0)
    l1_warmup_share: float = Field(default=0.2, ge=0, le=1)
    dead_window_samples: int = Field(default=50_000, ge=1)
    aux_coefficient: float = Field(default=1 / 32, ge=0)
    k_aux: int | None = Field(default=None, ge=1)
    resample_every_samples: int = Field(default=100_000, ge=0)

    decoder_norm: Literal["free", "unit"] = "free"
    initial_decoder_norm: float = Field(default=0.1, gt=0)
    center_samples: int = Field(default=65_536, ge=2)

    seed: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=1000, ge=1)
    log_every: int | None = Field(default=None, ge=1)
    n_threads: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if (self.n_steps is None) == (self.epochs is None):
            raise ValueError("exactly one of n_steps and epochs is needed")
        return self

    @model_validator(mode="after")
    def _has_one_width(self) -> Self:
        if self.n_features is not None and self.expansion != type(self).model_fields["expansion"].default:
            raise UsageError(
                f"n_features {self.n_features} and expansion {self.expansion:g}, two settings of one width",
                expected="one of them",
                todo=f"leave n_features away to get {self.expansion:g} features a unit of width, "
                f"or leave expansion away to get {self.n_features}",
            )
        return self

    def dictionary_spec(self, d_in: int) -> DictionarySpec:
        """The dictionary that this makes of activations of width `d_in`."""
        return DictionarySpec(
            architecture=self.architecture,
            d_in=d_in,
            n_features=self.n_features or max(1, round(self.expansion * d_in)),
            k=self.k,
            options=self.options,
        )

    def total_steps(self, n_samples: int) -> int:
        """Optimiser steps over a source of `n_samples`; a last, shorter batch of an epoch is a step too."""
        if self.n_steps is not None:
            return self.n_steps
        per_epoch = -(-n_samples // self.batch_size)
        return max(1, round((self.epochs or 0) * per_epoch))

    def log_interval(self, n_steps: int) -> int:
        """Steps between rows of the history."""
        return self.log_every or max(1, n_steps // 200)
