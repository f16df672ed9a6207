from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mechscope.core import BadDataError, UsageError
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.training import ArraySource, evaluate


def random_dictionary() -> Dictionary:
    return Dictionary.random(DictionarySpec(architecture="topk", d_in=6, n_features=30, k=2), seed=0, decoder_norm=1.0)


def some_samples(n: int) -> Tensor:
    return 3 + torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def test_measures_equal_the_plain_formulas() -> None:
    dictionary, x = random_dictionary(), some_samples(5000)
    result = evaluate(dictionary, ArraySource(x))
    x_hat, z = dictionary.reconstruct(x).double(), dictionary.encode(x).to_dense()
    x = x.double()
    errors, spread = (x - x_hat).square().sum(1), (x - x.mean(0)).square().sum(1)
    assert result.fvu == pytest.approx(float(errors.sum() / spread.sum()), rel=1e-6)
    assert result.explained_variance == pytest.approx(1 - result.fvu)
    assert result.l0 == pytest.approx(float((z > 0).sum(1).double().mean()))
    assert result.n_dead == int((~(z > 0).any(0)).sum())
    assert result.dead_share == result.n_dead / 30
    assert result.density == pytest.approx((z > 0).double().mean(0).tolist())
    assert result.cosine == pytest.approx(float(torch.nn.functional.cosine_similarity(x, x_hat).mean()), rel=1e-6)
    assert result.l2_ratio == pytest.approx(float((x_hat.norm(dim=1) / x.norm(dim=1)).mean()), rel=1e-6)
    assert (result.n_samples, result.n_zero_samples) == (5000, 0)
    slack = errors - result.fvu * spread
    wanted = float(slack.std() * 5000**0.5 / spread.sum())
    assert result.fvu_standard_error == pytest.approx(wanted, rel=1e-2)


def test_a_subset_is_counted_and_zero_samples_are_named() -> None:
    x = some_samples(100)
    x[:100:10] = 0
    result = evaluate(random_dictionary(), ArraySource(x), max_samples=100)
    assert result.n_zero_samples == 10
    assert evaluate(random_dictionary(), ArraySource(x), max_samples=40).n_samples == 40


def test_wrong_inputs_are_refused() -> None:
    dictionary = random_dictionary()
    with pytest.raises(UsageError, match="width 5"):
        evaluate(dictionary, ArraySource(torch.zeros(4, 5)))
    with pytest.raises(BadDataError, match="all equal"):
        evaluate(dictionary, ArraySource(torch.ones(4, 6)))
    with pytest.raises(BadDataError, match="fewer than two"):
        evaluate(dictionary, ArraySource(torch.ones(1, 6)))
