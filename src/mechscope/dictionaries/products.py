"""Sparse products, and a reconstruction with a hand-written sparse backward.

For codes z (few entries a sample), x_hat = z @ W_dec + b_dec and z = (x - b_dec) @ W_enc + b_enc at the kept entries:

    g          gradient of the loss in x_hat, [n d_in]
    dz         g . W_dec[feature] + (gradient in z itself), at the kept entries only   (sampled product)
    dW_dec     z^T @ g,            summed feature by feature over the kept entries      (sparse x dense)
    dW_enc     (x - b_dec)^T @ dz, likewise
    db_enc     dz summed by feature
    db_dec     g summed over samples, minus W_enc @ db_enc (b_dec is taken off the input too)

So the one dense product of a step is the encoder's; autograd's four others, and its unused gradient in x, are not made.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag

from mechscope.dictionaries.architecture import Weights
from mechscope.dictionaries.codes import Codes, offsets

__all__ = ["dense_reconstruction", "kept_dots", "sparse_reconstruction", "sparse_times_dense"]


def sparse_times_dense(codes: Codes, dense: Float[Tensor, "n_features d"]) -> Float[Tensor, "n d"]:
    """`codes @ dense`: nnz * d multiplications."""
    if codes.nnz == 0:
        return dense.new_zeros(len(codes), dense.shape[1])
    product: Tensor = embedding_bag(
        codes.features.long(),
        dense,
        codes.indptr,
        mode="sum",
        per_sample_weights=codes.values.to(dense.dtype),
        include_last_offset=True,
    )
    return product


def kept_dots(codes: Codes, left: Float[Tensor, "n d"], right: Float[Tensor, "n_features d"]) -> Float[Tensor, "nnz"]:
    """`left[i] . right[f]` for each kept entry (i, f): nnz * d multiplications, no [n, n_features]."""
    with warnings.catch_warnings():  # torch calls its CSR tensors "beta" once a process
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        size = (len(codes), codes.n_features)
        mask = torch.sparse_csr_tensor(
            codes.indptr, codes.features.long(), torch.zeros_like(codes.values), size=size, check_invariants=False
        )
        dots: Tensor = torch.sparse.sampled_addmm(mask, left.contiguous(), right.t(), beta=0.0).values()
    return dots


def by_feature(codes: Codes) -> tuple[Int64[Tensor, "n_features_plus_one"], Int64[Tensor, "nnz"]]:
    """Offsets of each feature's entries and the stable order that brings entries together by feature."""
    order = torch.sort(codes.features, stable=True).indices
    return offsets(torch.bincount(codes.features, minlength=codes.n_features)), order


def sparse_reconstruction(
    x: Float[Tensor, "n d_in"],
    weights: Weights,
    codes: Codes,
    *,
    is_centred: bool,
) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "nnz"]]:
    """x_hat and the kept values, differentiable in the four weights; x gets no gradient.

    Memory: O(n * d_in + nnz + n_features * d_in).

    Args:
        codes: what the weights give on x, computed without autograd.
        is_centred: whether b_dec was taken off the input.
    """
    outputs: tuple[Tensor, Tensor] = _Sparse.apply(  # type: ignore[no-untyped-call]
        x, weights.W_enc, weights.b_enc, weights.W_dec, weights.b_dec, codes, is_centred
    )
    return outputs


def dense_reconstruction(
    x: Float[Tensor, "n d_in"],
    weights: Weights,
    dense: Float[Tensor, "n n_features"],
    *,
    is_centred: bool,
) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n n_features"]]:
    """The same for codes that are too full to be sparse: z is taken and given back as a dense matrix.

    Four dense products beside the encoder's; still without the unused gradient in x.
    """
    outputs: tuple[Tensor, Tensor] = _Dense.apply(  # type: ignore[no-untyped-call]
        x, weights.W_enc, weights.b_enc, weights.W_dec, weights.b_dec, dense, is_centred
    )
    return outputs


class _Sparse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        codes: Codes,
        is_centred: bool,
    ) -> tuple[Tensor, Tensor]:
        """The sparse decode."""
        del b_enc
        ctx.codes, ctx.is_centred = codes, is_centred
        ctx.save_for_backward(x, W_enc, W_dec, b_dec)
        return sparse_times_dense(codes, W_dec).add_(b_dec), codes.values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The sparse gradients of the module's docstring."""
        grad_x_hat, grad_values = gradients
        x, W_enc, W_dec, b_dec = ctx.saved_tensors
        codes: Codes = ctx.codes
        inputs = x - b_dec if ctx.is_centred else x
        starts, order = by_feature(codes)
        grad_codes = kept_dots(codes, grad_x_hat, W_dec) + grad_values
        rows = codes.rows()[order].int()
        kept = Codes(starts, rows, codes.values[order], len(codes))
        grad_W_dec = sparse_times_dense(kept, grad_x_hat)
        grad_W_enc = sparse_times_dense(kept.with_values(grad_codes[order]), inputs).t()
        grad_b_enc = torch.zeros_like(W_enc[0]).index_add_(0, codes.features, grad_codes)
        grad_b_dec = grad_x_hat.sum(0)
        if ctx.is_centred:
            grad_b_dec = grad_b_dec - W_enc @ grad_b_enc
        return None, grad_W_enc, grad_b_enc, grad_W_dec, grad_b_dec, None, None


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        dense: Tensor,
        is_centred: bool,
    ) -> tuple[Tensor, Tensor]:
        """The dense decode."""
        del b_enc
        ctx.is_centred = is_centred
        ctx.save_for_backward(x, W_enc, W_dec, b_dec, dense)
        return torch.addmm(b_dec, dense, W_dec), dense.view_as(dense)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients where z is above 0."""
        grad_x_hat, grad_dense = gradients
        x, W_enc, W_dec, b_dec, dense = ctx.saved_tensors
        inputs = x - b_dec if ctx.is_centred else x
        grad_codes = torch.addmm(grad_dense, grad_x_hat, W_dec.t()).mul_(dense > 0)
        grad_b_enc = grad_codes.sum(0)
        grad_b_dec = grad_x_hat.sum(0)
        if ctx.is_centred:
            grad_b_dec = grad_b_dec - W_enc @ grad_b_enc
        return None, (grad_codes.t() @ inputs).t(), grad_b_enc, dense.t() @ grad_x_hat, grad_b_dec, None, None
