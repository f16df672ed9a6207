from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mechscope.core import BadDataError, UsageError
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.training import ArraySource, Evaluation, evaluate


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


def slow_errors(x: Tensor, clusters: np.ndarray) -> tuple[float, float, float]:
    """Standard errors of FVU, L0 and cosine, cluster by cluster."""
    dictionary = random_dictionary()
    x_hat, z = dictionary.reconstruct(x).double(), dictionary.encode(x).to_dense()
    x = x.double()
    errors, spread = (x - x_hat).square().sum(1), (x - x.mean(0)).square().sum(1)
    cosine = torch.nn.functional.cosine_similarity(x, x_hat)
    ones = torch.ones(len(x)).double()
    found = []
    for above, below in ((errors, spread), ((z > 0).sum(1).double(), ones), (cosine, ones)):
        ratio = above.sum() / below.sum()
        parts = [float((above - ratio * below)[torch.from_numpy(clusters == c)].sum()) for c in np.unique(clusters)]
        g = len(parts)
        found.append((g / (g - 1) * sum(part**2 for part in parts)) ** 0.5 / float(below.sum()))
    return found[0], found[1], found[2]


def the_errors(result: Evaluation) -> tuple[float, float, float]:
    return result.fvu_standard_error, result.l0_standard_error, result.cosine_standard_error


@pytest.mark.parametrize("n_clusters", [2, 37, 5000])
def test_clustered_standard_errors_equal_the_slow_ones_and_leave_the_values_alone(n_clusters: int) -> None:
    generator = np.random.default_rng(0)
    clusters = 3 * np.sort(generator.integers(0, n_clusters, 5000)) - 7
    x = some_samples(5000) + torch.from_numpy(np.sin(clusters)).float()[:, None] * 3
    result = evaluate(random_dictionary(), ArraySource(x), clusters=clusters)
    assert the_errors(result) == pytest.approx(slow_errors(x, clusters), rel=1e-5)
    assert result.n_clusters == len(np.unique(clusters))
    plain = evaluate(random_dictionary(), ArraySource(x))
    assert plain.n_clusters is None
    assert (result.fvu, result.l0, result.cosine, result.l2_ratio) == pytest.approx(
        (plain.fvu, plain.l0, plain.cosine, plain.l2_ratio), rel=1e-6
    )
    assert (result.density, result.n_dead) == (plain.density, plain.n_dead)


def test_clusters_of_one_sample_each_give_the_plain_standard_errors() -> None:
    x = some_samples(3000)
    alone = evaluate(random_dictionary(), ArraySource(x), clusters=np.arange(3000))
    plain = evaluate(random_dictionary(), ArraySource(x))
    assert the_errors(alone) == pytest.approx(the_errors(plain), rel=1e-5)
    assert the_errors(plain) == pytest.approx(slow_errors(x, np.arange(3000)), rel=1e-5)


def test_intervals_cover_the_truth_when_errors_are_alike_inside_clusters() -> None:
    """A dictionary that gives the first axis back and drops the second; in half the clusters the second is loud.

    The fraction of variance unexplained is E[x_2^2] / (E[x_1^2] + E[x_2^2]) = 1.05 / 2.05.
    """
    dictionary = Dictionary(DictionarySpec(architecture="relu", d_in=2, n_features=2))
    with torch.no_grad():
        dictionary.W_dec[:, 0] = torch.tensor([1.0, -1.0])
        dictionary.W_enc[0] = torch.tensor([1.0, -1.0])
    clusters = np.repeat(np.arange(60), 50)
    n_covered = np.zeros(2)
    for seed in range(200):
        generator = np.random.default_rng(seed)
        loudness = generator.choice([0.1, 2.0], 60)[clusters] ** 0.5
        x = generator.standard_normal((3000, 2)) * np.stack([np.ones(3000), loudness], 1)
        source = ArraySource(torch.from_numpy(x))
        for index, given in enumerate((clusters, None)):
            result = evaluate(dictionary, source, clusters=given)
            n_covered[index] += abs(result.fvu - 1.05 / 2.05) < 1.96 * result.fvu_standard_error
    assert 0.90 <= n_covered[0] / 200 <= 0.99
    assert n_covered[1] / 200 < 0.6


def test_a_subset_of_clustered_samples_is_drawn_evenly() -> None:
    x = some_samples(900)
    result = evaluate(random_dictionary(), ArraySource(x), clusters=np.repeat(np.arange(90), 10), max_samples=300)
    assert result.n_samples == 300
    assert result.n_clusters is not None
    assert result.n_clusters > 80


def test_clusters_that_cannot_be_used_are_refused() -> None:
    x = some_samples(20)
    with pytest.raises(UsageError, match="one for each of the 20 samples"):
        evaluate(random_dictionary(), ArraySource(x), clusters=np.arange(19))
    with pytest.raises(UsageError, match="clusters of float64"):
        evaluate(random_dictionary(), ArraySource(x), clusters=np.arange(20.0))
    with pytest.raises(UsageError, match="one cluster"):
        evaluate(random_dictionary(), ArraySource(x), clusters=np.zeros(20, dtype=np.int64))
