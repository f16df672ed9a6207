"""TopK: the k largest pre-activations of each sample, as far as they are above 0.

    z      = top k of (x - b_dec) @ W_enc + b_enc, ranked by value times decoder norm
    loss   = mean |x - z W_dec - b_dec|^2 + aux_coefficient * |e - e_hat|^2 / |e|^2

with e the residual (held fixed) and e_hat its reconstruction by the k_aux largest dead features. From Gao et al. 2024,
"Scaling and evaluating sparse autoencoders", sections 2.3 and 2.4 and appendix A.2. We differ: decoder rows keep free
norms in training and the ranking multiplies by them (as SAELens does; a saved dictionary has unit rows, where both
agree), and the auxiliary product is restricted to the dead columns, so that it costs their share of the width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import UsageError
from mechscope.core.kinds import ARCHITECTURES
from mechscope.dictionaries.architecture import (
    Architecture,
    LossTerms,
    Pressure,
    Weights,
    refuse_options,
    selected_codes,
)
from mechscope.dictionaries.codes import Codes, offsets
from mechscope.dictionaries.products import sparse_reconstruction
from mechscope.dictionaries.specs import DictionarySpec

__all__ = ["TopK"]

SMALLEST_NORM = 1e-12
PARTITION_RATIO = 64


@ARCHITECTURES.register("topk")
class TopK(Architecture):
    """The k largest pre-activations of each sample; dead features are revived by an auxiliary loss."""

    saelens_name = "topk"
    revives_by = "aux"

    def check(self, spec: DictionarySpec) -> None:
        """k is needed, between 1 and n_features."""
        refuse_options(spec)
        if spec.k is None or spec.k > spec.n_features:
            raise UsageError(
                f"architecture 'topk' with k = {spec.k} and {spec.n_features} features",
                expected=f"k, the features kept for each sample, in 1..{spec.n_features}",
                todo="set k, for example 32",
            )

    def extra_shapes(self, spec: DictionarySpec) -> dict[str, tuple[int, ...]]:
        """None."""
        del spec
        return {}

    def select(self, pre: Float[Tensor, "n n_features"], spec: DictionarySpec, weights: Weights) -> Codes:
        """The k largest entries above 0; ties fall as torch's top-k lets them."""
        del weights
        return top_codes(pre, spec.k or 1)

    def loss(self, x: Float[Tensor, "n d_in"], spec: DictionarySpec, weights: Weights, pressure: Pressure) -> LossTerms:
        """Squared error and the auxiliary term. One dense product, plus the dead share of another one."""
        norms = weights.W_dec.detach().norm(dim=1).clamp_min(SMALLEST_NORM)
        codes = self._ranked_codes(x, spec, weights, norms)
        x_hat, values = sparse_reconstruction(x, weights, codes, is_centred=spec.apply_b_dec_to_input)
        residual = x - x_hat
        error = residual.square().sum() / len(x)
        aux = self._auxiliary(x, residual.detach(), spec, weights, pressure)
        l1 = (values.detach() * norms[codes.features]).sum() / len(x)
        return LossTerms(
            total=error + pressure.aux_coefficient * aux,
            error=error.detach(),
            l1=l1,
            aux=aux.detach(),
            residual=residual.detach(),
            fired=codes.features.long(),
            n_active=codes.nnz,
        )

    def _ranked_codes(self, x: Tensor, spec: DictionarySpec, weights: Weights, norms: Tensor) -> Codes:
        with torch.no_grad():
            W_enc = (weights.W_enc.t() * norms[:, None]).t()
            scaled = replace(weights, W_enc=W_enc, b_enc=weights.b_enc * norms)
        codes = selected_codes(self, x, spec, scaled)
        return codes.with_values(codes.values / norms[codes.features])

    def _auxiliary(
        self, x: Tensor, residual: Tensor, spec: DictionarySpec, weights: Weights, pressure: Pressure
    ) -> Tensor:
        dead = pressure.dead.nonzero().squeeze(1) if pressure.dead is not None else None
        if dead is None or not len(dead) or not pressure.aux_coefficient:
            return x.new_zeros(())
        rows = weights.W_enc.t().index_select(0, dead)
        part = Weights(rows.t(), weights.b_enc[dead], weights.W_dec[dead], weights.b_dec.detach())
        narrow = spec.updated(n_features=len(dead), k=min(pressure.k_aux, len(dead)))
        codes = selected_codes(self, x, narrow, part)
        x_hat, _ = sparse_reconstruction(x, part, codes, is_centred=spec.apply_b_dec_to_input)
        missed: Tensor = (residual - (x_hat - part.b_dec)).square().sum()
        return missed / residual.square().sum().clamp_min(SMALLEST_NORM)

    def cfg_fields(self, spec: DictionarySpec) -> dict[str, Any]:
        """k, and the ranking by plain value: saved decoder rows have norm 1."""
        return {"k": spec.k, "rescale_acts_by_decoder_norm": False}

    def spec_fields(self, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """k."""
        return {"k": cfg.get("k")}


def top_codes(pre: Float[Tensor, "n n_features"], k: int) -> Codes:
    """The k largest entries of each row that are above 0, by rising feature id."""
    n_features = pre.shape[1]
    if pre.device.type == "cpu" and k < n_features < PARTITION_RATIO * k:
        codes = _codes_above_kth(pre, k)
        if codes is not None:
            return codes
    top = torch.topk(pre, k, dim=1, sorted=False)
    features, order = top.indices.sort(dim=1)
    values = top.values.gather(1, order)
    kept = values > 0
    return Codes(offsets(kept.sum(1)), features[kept].int(), values[kept], n_features)


def _codes_above_kth(pre: Float[Tensor, "n n_features"], k: int) -> Codes | None:
    """The same through each row's k-th largest value; None when a tie would keep more than k.

    In widths below 64 k torch's top-k falls back to a slow selection, three times as slow as NumPy's partition.
    """
    n, n_features = pre.shape
    array: np.ndarray = pre.numpy()
    kth = np.partition(array, n_features - k, axis=1)[:, n_features - k, None]
    is_kept = (array >= kth) & (array > 0)
    flat = np.flatnonzero(is_kept)
    counts = torch.from_numpy(np.bincount(flat // n_features, minlength=n))
    if n and int(counts.max()) > k:
        return None
    features = torch.from_numpy((flat % n_features).astype(np.int32))
    return Codes(offsets(counts), features, torch.from_numpy(array.reshape(-1)[flat]), n_features)
