"""The interface of an architecture: what differs between dictionaries, and nothing else.

One file in `architectures/` holds one architecture: which pre-activations count as active, what it is trained on,
and what it is called in SAELens' files. `Dictionary` holds the weights and is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mechscope.core import UsageError
from mechscope.core.kinds import ARCHITECTURES
from mechscope.dictionaries.codes import Codes
from mechscope.dictionaries.specs import DictionarySpec

__all__ = ["Architecture", "LossTerms", "Pressure", "Weights", "architecture_of", "chunk_rows"]

CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class Weights:
    """The tensors of a dictionary. `extra` holds what only some architectures have, by name."""

    W_enc: Float[Tensor, "d_in n_features"]
    b_enc: Float[Tensor, "n_features"]
    W_dec: Float[Tensor, "n_features d_in"]
    b_dec: Float[Tensor, "d_in"]
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Pressure:
    """What the loop adds to the reconstruction error at one step.

    Attributes:
        l1_coefficient: weight of the L1 term now (after warm-up), on inputs of total variance 1.
        aux_coefficient: weight of the auxiliary term that revives dead features.
        k_aux: features that the auxiliary term may use for each sample.
        dead: which features count as dead now, bool [n_features], or None when none does.
    """

    l1_coefficient: float = 0.0
    aux_coefficient: float = 0.0
    k_aux: int = 0
    dead: Bool[Tensor, "n_features"] | None = None


@dataclass(frozen=True)
class LossTerms:
    """The loss of one batch.

    Attributes:
        total: what is minimised, a scalar with a graph.
        error: squared reconstruction error, mean over samples, sum over d_in; a detached scalar.
        l1: mean over samples of the sum of values times decoder norms; a detached scalar.
        aux: the auxiliary term before its coefficient; a detached scalar, 0 when it was not used.
        residual: x - x_hat, detached, [n d_in].
        fired: ids of the features that fired, each at least once, int64 [m].
        n_active: entries above 0 in the whole batch.
    """

    total: Float[Tensor, ""]
    error: Float[Tensor, ""]
    l1: Float[Tensor, ""]
    aux: Float[Tensor, ""]
    residual: Float[Tensor, "n d_in"]
    fired: Int64[Tensor, "m"]
    n_active: int


class Architecture(ABC):
    """One kind of dictionary. Instances hold no state.

    Attributes:
        saelens_name: what SAELens calls it in `cfg.json`.
        revives_by: "aux" when `loss` has a term for dead features, "resample" when the loop should replace them.
        is_elementwise: whether the code of a feature is its pre-activation where that is above 0, whatever others are.
    """

    saelens_name: ClassVar[str]
    revives_by: ClassVar[str]
    is_elementwise: ClassVar[bool] = False

    @abstractmethod
    def check(self, spec: DictionarySpec) -> None:
        """Raise UsageError when `spec` is not one of this architecture."""

    @abstractmethod
    def extra_shapes(self, spec: DictionarySpec) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights beyond W_enc, b_enc, W_dec and b_dec."""

    @abstractmethod
    def select(self, pre: Float[Tensor, "n n_features"], spec: DictionarySpec, weights: Weights) -> Codes:
        """The active entries of a chunk of pre-activations.

        `pre` is a buffer that the next chunk overwrites: it may be changed in place, and no view of it may be kept.
        """

    @abstractmethod
    def loss(self, x: Float[Tensor, "n d_in"], spec: DictionarySpec, weights: Weights, pressure: Pressure) -> LossTerms:
        """The training loss on a batch of inputs whose total variance is about 1."""

    @abstractmethod
    def cfg_fields(self, spec: DictionarySpec) -> dict[str, Any]:
        """Fields of SAELens' `cfg.json` that only this architecture has."""

    @abstractmethod
    def spec_fields(self, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of the spec (k, options) from SAELens' `cfg.json`."""


def architecture_of(spec: DictionarySpec) -> Architecture:
    """The architecture that `spec` names, after it has checked the spec.

    Raises:
        NotFoundError: no such architecture; the nearest name is offered.
        UsageError: the spec does not suit it.
    """
    architecture: Architecture = ARCHITECTURES.get(spec.architecture)()
    architecture.check(spec)
    return architecture


def chunk_rows(n_features: int) -> int:
    """How many samples are encoded at a time: their pre-activations take at most 16 MiB (or one sample)."""
    return max(1, CHUNK_BYTES // (4 * n_features))


def refuse_options(spec: DictionarySpec, *, known: tuple[str, ...] = ()) -> None:
    """Raise UsageError on an option that the architecture does not have."""
    unknown = sorted(set(spec.options) - set(known))
    if unknown:
        raise UsageError(
            f"unknown option {unknown[0]!r} for architecture {spec.architecture!r}",
            expected=f"options: {', '.join(known) or 'none'}",
            todo="remove it",
        )


def selected_codes(
    architecture: Architecture, x: Float[Tensor, "n d_in"], spec: DictionarySpec, weights: Weights
) -> Codes:
    """Codes of a batch; at most one chunk of `chunk_rows` samples of pre-activations exists at a time."""
    return encoded_in_chunks(architecture, x, spec, weights, chunk_rows(spec.n_features))


@torch.no_grad()
def encoded_in_chunks(
    architecture: Architecture, x: Float[Tensor, "n d_in"], spec: DictionarySpec, weights: Weights, n_rows: int
) -> Codes:
    """Codes of a batch, encoded and selected `n_rows` samples at a time.

    b_dec is folded into the encoder's bias, so that the input is read once and not copied.
    """
    bias, buffer = folded_bias(spec, weights), x.new_empty(min(n_rows, len(x)), spec.n_features)
    parts = []
    for chunk in torch.split(x, n_rows) if len(x) else [x]:
        pre = torch.addmm(bias, chunk, weights.W_enc, out=buffer[: len(chunk)])  # one buffer: fresh pages cost 20 %
        parts.append(architecture.select(pre, spec, weights))
    return Codes.concatenate(parts)


def folded_bias(spec: DictionarySpec, weights: Weights) -> Float[Tensor, "n_features"]:
    """The encoder's bias for an input from which b_dec has not been taken off."""
    return weights.b_enc - weights.b_dec @ weights.W_enc if spec.apply_b_dec_to_input else weights.b_enc
