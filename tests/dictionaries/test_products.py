from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mechscope.dictionaries import Codes, Weights
from mechscope.dictionaries.products import (
    dense_reconstruction,
    kept_dots,
    sparse_reconstruction,
    sparse_times_dense,
)

N, D_IN, N_FEATURES = 11, 6, 17


def random_weights() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(D_IN, N_FEATURES), (N_FEATURES,), (N_FEATURES, D_IN), (D_IN,)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def as_weights(tensors: list[Tensor]) -> Weights:
    W_enc, b_enc, W_dec, b_dec = tensors
    return Weights(W_enc, b_enc, W_dec, b_dec)


def random_inputs() -> Tensor:
    return torch.randn(N, D_IN, generator=torch.Generator().manual_seed(1))


def obvious_codes(x: Tensor, weights: list[Tensor], k: int, is_centred: bool) -> Tensor:
    """Dense codes by plain autograd: the k largest of relu(pre)."""
    W_enc, b_enc, _, b_dec = weights
    pre = (x - b_dec if is_centred else x) @ W_enc + b_enc
    mask = torch.zeros_like(pre).scatter(1, pre.topk(k, dim=1).indices, 1.0)
    return pre.relu() * mask


@pytest.mark.parametrize("is_centred", [True, False])
@pytest.mark.parametrize("k", [1, 4, N_FEATURES])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_hand_written_backward_equals_autograd(kind: str, k: int, is_centred: bool) -> None:
    x, weights = random_inputs(), random_weights()
    z = obvious_codes(x, weights, k, is_centred)
    slope = torch.randn(N_FEATURES, generator=torch.Generator().manual_seed(2))
    loss = (x - z @ weights[2] - weights[3]).pow(4).sum() + (z @ slope).sum()
    wanted = torch.autograd.grad(loss, weights)

    if kind == "sparse":
        codes = Codes.from_dense(z.detach())
        x_hat, values = sparse_reconstruction(x, as_weights(weights), codes, is_centred=is_centred)
        penalty = (values * slope[codes.features]).sum()
    else:
        x_hat, dense = dense_reconstruction(x, as_weights(weights), z.detach(), is_centred=is_centred)
        penalty = (dense @ slope).sum()
    mine = (x - x_hat).pow(4).sum() + penalty
    torch.testing.assert_close(mine, loss)
    for got, want in zip(torch.autograd.grad(mine, weights), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_products_equal_dense_ones() -> None:
    x, weights = random_inputs(), [weight.detach() for weight in random_weights()]
    dense = obvious_codes(x, weights, 3, True)
    codes = Codes.from_dense(dense)
    torch.testing.assert_close(sparse_times_dense(codes, weights[2]), dense @ weights[2])
    dots = (x @ weights[2].t())[dense > 0]
    torch.testing.assert_close(kept_dots(codes, x, weights[2]), dots)


def test_no_codes_at_all_give_zeros_and_no_gradient_in_the_weights() -> None:
    x, weights = random_inputs(), random_weights()
    codes = Codes.from_dense(torch.zeros(N, N_FEATURES))
    x_hat, values = sparse_reconstruction(x, as_weights(weights), codes, is_centred=True)
    assert len(values) == 0
    torch.testing.assert_close(x_hat, weights[3].expand(N, -1))
    gradients = torch.autograd.grad(x_hat.sum(), weights)
    assert not gradients[0].any()
    assert not gradients[2].any()
    torch.testing.assert_close(gradients[3], torch.full((D_IN,), float(N)))
