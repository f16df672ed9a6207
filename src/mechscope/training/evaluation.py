"""How well a dictionary reconstructs held-out samples, and how it uses its features.

With e_i = |x_i - x_hat_i|^2 and v_i = |x_i - mean|^2, the mean taken over the same held-out samples:

    fraction of variance unexplained   FVU = sum e / sum v
    explained variance                 1 - FVU      (the "total variance" definition, SAEBench's `explained_variance`;
                                                     not the mean of per-sample ratios, its `_legacy`)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechscope.core import SILENT, BadDataError, Progress, Spec, UsageError
from mechscope.dictionaries import Codes, Dictionary
from mechscope.training.sources import SampleSource

__all__ = ["Evaluation", "evaluate"]

BATCH_SIZE = 4096
ORDER_SEED = 0


class Evaluation(Spec):
    """Measures over `n_samples` held-out samples.

    fvu: fraction of variance unexplained, total variance around the mean of these samples.
    explained_variance: 1 - fvu.
    fvu_standard_error: delta method for a ratio of sums, samples taken as independent; too small where tokens of one
        row are alike (the splice evaluation resamples rows instead).
    l0: mean number of active features a sample.
    dead_share: share of features that fired on none of these samples; n_dead is their number.
    cosine, l2_ratio: mean over samples of cos(x, x_hat) and |x_hat| / |x|; samples with |x| = 0 are left out and
        counted in n_zero_samples.
    density: for each feature the share of samples on which it fired.
    """

    dictionary_digest: str
    n_samples: int
    n_features: int
    fvu: float
    fvu_standard_error: float
    explained_variance: float
    l0: float
    dead_share: float
    n_dead: int
    cosine: float
    l2_ratio: float
    n_zero_samples: int
    density: list[float]


@dataclass
class _Sums:
    origin: Float[Tensor, "d_in"]
    n_fired: Int64[Tensor, "n_features"]
    offset: Float[Tensor, "d_in"]
    moments: Float[Tensor, "five"]
    angles: Float[Tensor, "two"]
    n: int = 0
    n_entries: int = 0
    n_zero: int = 0


def evaluate(
    dictionary: Dictionary, source: SampleSource, *, max_samples: int | None = None, progress: Progress = SILENT
) -> Evaluation:
    """Measure a dictionary on held-out samples: one pass, and memory for one batch of 4,096 samples and its codes.

    Args:
        dictionary: takes the raw samples.
        source: samples that it was not trained on.
        max_samples: stop after so many (a random subset, since batches are shuffled); None takes all.

    Raises:
        UsageError: the widths differ.
        BadDataError: NaN or infinity, fewer than two samples, or samples that are all equal.
    """
    if source.d_in != dictionary.d_in:
        raise UsageError(
            f"activations of width {source.d_in}",
            expected=f"width {dictionary.d_in}, which the dictionary reads",
            todo="evaluate it at the site that it was trained on",
        )
    left = min(source.n_samples, max_samples or source.n_samples)
    sums: _Sums | None = None
    with progress.task("evaluate", total=left, unit="sample") as task:
        for batch in source.batches(BATCH_SIZE, seed=ORDER_SEED, epoch=0):
            x = batch[:left]
            codes = dictionary.encode(x)
            sums = sums or _empty(x, dictionary.n_features)
            _add(sums, x, codes, dictionary.decode(codes))
            left -= len(x)
            task.advance(len(x))
            if left <= 0:
                break
    if sums is None or sums.n < 2:
        raise BadDataError("fewer than two samples", expected="held-out samples", todo="collect more activations")
    return _result(sums, dictionary)


def _empty(x: Tensor, n_features: int) -> _Sums:
    zeros = torch.zeros(x.shape[1], dtype=torch.float64)
    fired = torch.zeros(n_features, dtype=torch.int64)
    return _Sums(x.double().mean(0), fired, zeros, torch.zeros(5).double(), torch.zeros(2).double())


def _add(sums: _Sums, x: Float[Tensor, "n d_in"], codes: Codes, x_hat: Float[Tensor, "n d_in"]) -> None:
    values, guess = x.double(), x_hat.double()
    centred = values - sums.origin
    e, v = (values - guess).square().sum(1), centred.square().sum(1)
    sums.offset += centred.sum(0)
    sums.moments += torch.stack([e.sum(), v.sum(), e @ e, e @ v, v @ v])
    norm, norm_hat = values.norm(dim=1), guess.norm(dim=1)
    kept = norm > 0
    cosine = (values * guess).sum(1)[kept] / (norm * norm_hat.clamp_min(1e-30))[kept]
    sums.angles += torch.stack([cosine.sum(), (norm_hat[kept] / norm[kept]).sum()])
    sums.n_fired += torch.bincount(codes.features, minlength=codes.n_features)
    sums.n, sums.n_entries, sums.n_zero = sums.n + len(x), sums.n_entries + codes.nnz, sums.n_zero + int((~kept).sum())


def _result(sums: _Sums, dictionary: Dictionary) -> Evaluation:
    n, (error, spread, ee, ev, vv) = sums.n, sums.moments.tolist()
    variance = spread - float(sums.offset.square().sum()) / n
    if not variance > 0:
        raise BadDataError(f"{n} samples that are all equal", expected="samples that differ", todo="check the site")
    fvu = error / variance
    noise = max(0.0, ee - 2 * fvu * ev + fvu * fvu * vv - (error - fvu * spread) ** 2 / n)
    n_dead = int((sums.n_fired == 0).sum())
    cosine, l2_ratio = (sums.angles / max(1, n - sums.n_zero)).tolist()
    return Evaluation(
        dictionary_digest=dictionary.digest,
        n_samples=n,
        n_features=dictionary.n_features,
        fvu=fvu,
        fvu_standard_error=(noise * n / (n - 1)) ** 0.5 / variance,
        explained_variance=1 - fvu,
        l0=sums.n_entries / n,
        dead_share=n_dead / dictionary.n_features,
        n_dead=n_dead,
        cosine=cosine,
        l2_ratio=l2_ratio,
        n_zero_samples=sums.n_zero,
        density=(sums.n_fired.double() / n).tolist(),
    )
