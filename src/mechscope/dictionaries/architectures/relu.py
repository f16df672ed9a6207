"""ReLU with an L1 penalty, the standard sparse autoencoder.

    z    = max(0, (x - b_dec) @ W_enc + b_enc)
    loss = mean |x - z W_dec - b_dec|^2 + l1_coefficient * mean sum_i z_i |W_dec_i|

From Bricken et al. 2023, "Towards monosemanticity", with the penalty weighted by decoder norms as in Anthropic's
circuits update of April 2024, which leaves the norms free. We differ: inputs are scaled to a total variance of 1, so
that one coefficient suits every width, and dead features are resampled by the loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from mechscope.core import UsageError
from mechscope.core.kinds import ARCHITECTURES
from mechscope.dictionaries.architecture import (
    Architecture,
    LossTerms,
    Pressure,
    Weights,
    folded_bias,
    refuse_options,
    selected_codes,
)
from mechscope.dictionaries.codes import Codes
from mechscope.dictionaries.products import dense_reconstruction, sparse_reconstruction
from mechscope.dictionaries.specs import DictionarySpec

__all__ = ["ReLU"]

PROBED_ROWS = 64
SPARSE_SHARE = 0.04  # below this share of active entries the sparse products win (benchmarks/training.py)


@ARCHITECTURES.register("relu")
class ReLU(Architecture):
    """Every pre-activation above 0, trained with an L1 penalty; dead features are resampled."""

    saelens_name = "standard"
    revives_by = "resample"
    is_elementwise = True

    def check(self, spec: DictionarySpec) -> None:
        """There is no k."""
        refuse_options(spec)
        if spec.k is not None:
            raise UsageError(
                f"architecture 'relu' with k = {spec.k}",
                expected="no k: the L1 coefficient sets how many features are active",
                todo="remove k, or use architecture 'topk'",
            )

    def extra_shapes(self, spec: DictionarySpec) -> dict[str, tuple[int, ...]]:
        """None."""
        del spec
        return {}

    def select(self, pre: Float[Tensor, "n n_features"], spec: DictionarySpec, weights: Weights) -> Codes:
        """All entries above 0."""
        del spec, weights
        return Codes.from_dense(pre)

    def loss(self, x: Float[Tensor, "n d_in"], spec: DictionarySpec, weights: Weights, pressure: Pressure) -> LossTerms:
        """Squared error and the weighted L1 term: five dense products while codes are full, else one."""
        norms = weights.W_dec.norm(dim=1)
        is_centred = spec.apply_b_dec_to_input
        if self._is_sparse(x, spec, weights):
            codes = selected_codes(self, x, spec, weights)
            x_hat, values = sparse_reconstruction(x, weights, codes, is_centred=is_centred)
            l1, fired, n_active = (values * norms[codes.features]).sum(), codes.features.long(), codes.nnz
        else:
            z = self._dense_codes(x, spec, weights)
            x_hat, dense = dense_reconstruction(x, weights, z, is_centred=is_centred)
            per_feature = torch.count_nonzero(z, dim=0)
            l1, fired, n_active = (dense @ norms).sum(), per_feature.nonzero().squeeze(1), int(per_feature.sum())
        residual, l1 = x - x_hat, l1 / len(x)
        error = residual.square().sum() / len(x)
        return LossTerms(
            total=error + pressure.l1_coefficient * l1,
            error=error.detach(),
            l1=l1.detach(),
            aux=torch.zeros_like(error),
            residual=residual.detach(),
            fired=fired,
            n_active=n_active,
        )

    def _is_sparse(self, x: Tensor, spec: DictionarySpec, weights: Weights) -> bool:
        probe = selected_codes(self, x[:PROBED_ROWS], spec, weights)
        return probe.nnz < SPARSE_SHARE * len(probe) * spec.n_features

    def _dense_codes(self, x: Tensor, spec: DictionarySpec, weights: Weights) -> Tensor:
        with torch.no_grad():
            return linear(x, weights.W_enc.t(), folded_bias(spec, weights)).relu_()

    def cfg_fields(self, spec: DictionarySpec) -> dict[str, Any]:
        """None."""
        del spec
        return {}

    def spec_fields(self, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """None."""
        del cfg
        return {}
