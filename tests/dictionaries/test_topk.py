from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mechscope.dictionaries.architectures.topk import top_codes


def obvious(pre: Tensor, k: int) -> Tensor:
    """Row by row, by sorting."""
    dense = torch.zeros_like(pre)
    for row, values in enumerate(pre):
        for feature in sorted(range(len(values)), key=lambda j: -float(values[j]))[:k]:
            dense[row, feature] = max(float(values[feature]), 0.0)
    return dense


@pytest.mark.parametrize(("n_features", "k"), [(40, 3), (40, 40), (300, 2), (5, 1), (64, 1)])
@pytest.mark.parametrize("shift", [0.0, -2.0, 2.0])
def test_selection_equals_sorting(n_features: int, k: int, shift: float) -> None:
    pre = torch.randn(25, n_features, generator=torch.Generator().manual_seed(k)) + shift
    assert torch.equal(top_codes(pre, k).to_dense(), obvious(pre, k))


def test_ties_keep_exactly_k() -> None:
    codes = top_codes(torch.ones(3, 20), 4)
    assert codes.indptr.tolist() == [0, 4, 8, 12]
    assert bool((codes.features.view(3, 4).diff(dim=1) > 0).all())
