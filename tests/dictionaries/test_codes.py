from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import UsageError
from mechscope.dictionaries import Codes


def dense_of(seed: int, n: int, n_features: int) -> torch.Tensor:
    return torch.randn(n, n_features, generator=torch.Generator().manual_seed(seed)).relu()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 9), st.integers(1, 12))
def test_round_trip_and_slices(seed: int, n: int, n_features: int) -> None:
    dense = dense_of(seed, n, n_features)
    codes = Codes.from_dense(dense)
    assert torch.equal(codes.to_dense(), dense)
    assert codes.nnz == int((dense > 0).sum())
    cut = n // 2
    parts = [codes.slice(0, cut), codes.slice(cut, n)]
    assert torch.equal(parts[1].to_dense(), dense[cut:])
    assert torch.equal(Codes.concatenate(parts).to_dense(), dense)


def test_codes_of_other_widths_are_not_joined() -> None:
    with pytest.raises(UsageError, match=r"widths \[3, 4\]"):
        Codes.concatenate([Codes.from_dense(torch.ones(1, 3)), Codes.from_dense(torch.ones(1, 4))])
