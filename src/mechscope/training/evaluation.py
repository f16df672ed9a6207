"""How well a dictionary reconstructs held-out samples, and how it uses its features.

With e_i = |x_i - x_hat_i|^2 and v_i = |x_i - mean|^2, the mean taken over the same held-out samples:

    fraction of variance unexplained   FVU = sum e / sum v
    explained variance                 1 - FVU      (the "total variance" definition, SAEBench's `explained_variance`;
                                                     not the mean of per-sample ratios, its `_legacy`)

Standard errors are the delta method's for ratios of sums. They take clusters of samples as independent when these are
given, else samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechscope.core import SILENT, BadDataError, Progress, Spec, UsageError, numpy_generator
from mechscope.dictionaries import Codes, Dictionary
from mechscope.training.clusters import UnitSums
from mechscope.training.sources import OrderedSource, SampleSource

__all__ = ["Evaluation", "evaluate"]

BATCH_SIZE = 4096
ORDER_SEED = 0
# columns of the measures summed over each unit
ERROR, SPREAD, N_ACTIVE, COSINE, L2_RATIO, ONE, HAS_NORM = range(7)


class Evaluation(Spec):
    """Measures over `n_samples` held-out samples.

    fvu: fraction of variance unexplained, total variance around the mean of these samples.
    explained_variance: 1 - fvu.
    n_clusters: how many clusters of samples the standard errors take as independent; None when they take the samples
        so, which makes them too small where positions of one row, or rows of one document, are alike.
    fvu_standard_error, l0_standard_error, cosine_standard_error: one standard error of each.
    l0: mean number of active features a sample.
    dead_share: share of features that fired on none of these samples; n_dead is their number.
    cosine, l2_ratio: mean over samples of cos(x, x_hat) and |x_hat| / |x|; samples with |x| = 0 are left out and
        counted in n_zero_samples.
    density: for each feature the share of samples on which it fired.
    """

    dictionary_digest: str
    n_samples: int
    n_clusters: int | None
    n_features: int
    fvu: float
    fvu_standard_error: float
    explained_variance: float
    l0: float
    l0_standard_error: float
    dead_share: float
    n_dead: int
    cosine: float
    cosine_standard_error: float
    l2_ratio: float
    n_zero_samples: int
    density: list[float]


@dataclass
class _Sums:
    origin: Float[Tensor, "d_in"]
    offset: Float[Tensor, "d_in"]
    n_fired: Int64[Tensor, "n_features"]
    units: UnitSums


def evaluate(
    dictionary: Dictionary,
    source: SampleSource,
    *,
    clusters: np.ndarray | None = None,
    max_samples: int | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Measure a dictionary on held-out samples, with memory for one batch of 4,096 samples and its codes.

    One pass over shuffled batches; with clusters two passes in natural order (the first takes the mean), and memory
    for one shard of the source.

    Args:
        dictionary: takes the raw samples.
        source: samples that it was not trained on.
        clusters: which samples belong together, integers [n_samples] in natural order of the source, for example
            `cluster_labels(corpus, cache.sample_rows())[1]`; None takes samples as independent.
        max_samples: measure so many, a random subset; None takes all.

    Raises:
        UsageError: the widths differ; or clusters of another length, fewer than two of them, or a source without a
            natural order.
        BadDataError: NaN or infinity, fewer than two samples, or samples that are all equal.
    """
    if source.d_in != dictionary.d_in:
        raise UsageError(
            f"activations of width {source.d_in}",
            expected=f"width {dictionary.d_in}, which the dictionary reads",
            todo="evaluate it at the site that it was trained on",
        )
    n = min(source.n_samples, max_samples or source.n_samples)
    if n < 2:
        raise BadDataError("fewer than two samples", expected="held-out samples", todo="collect more activations")
    sums, parts = _shuffled(dictionary, source, n) if clusters is None else _ordered(dictionary, source, n, clusters)
    with progress.task("evaluate", total=n, unit="sample") as task:
        for x, labels in parts:
            codes = dictionary.encode(x)
            _add(sums, x, labels, codes, dictionary.decode(codes))
            task.advance(len(x))
    return _result(sums, dictionary, is_clustered=clusters is not None)


_Parts = Iterator[tuple[Float[Tensor, "n d_in"], Int64[Tensor, "n"] | None]]


def _empty(origin: Float[Tensor, "d_in"], n_features: int, n_clusters: int | None) -> _Sums:
    fired = torch.zeros(n_features, dtype=torch.int64)
    return _Sums(origin, torch.zeros_like(origin), fired, UnitSums(7, n_clusters))


def _shuffled(dictionary: Dictionary, source: SampleSource, n: int) -> tuple[_Sums, _Parts]:
    first = next(iter(source.batches(BATCH_SIZE, seed=ORDER_SEED, epoch=0)))
    return _empty(first.double().mean(0), dictionary.n_features, None), _first_samples(source, n)


def _first_samples(source: SampleSource, n: int) -> _Parts:
    for batch in source.batches(BATCH_SIZE, seed=ORDER_SEED, epoch=0):
        yield batch[:n], None
        n -= len(batch)
        if n <= 0:
            return


def _ordered(dictionary: Dictionary, source: SampleSource, n: int, clusters: np.ndarray) -> tuple[_Sums, _Parts]:
    if not isinstance(source, OrderedSource):
        raise UsageError(
            f"clusters for {type(source).__name__}, a source without a natural order",
            expected="a source with `shards()`, such as an activation cache",
            todo="leave the clusters away",
        )
    if clusters.shape != (source.n_samples,) or clusters.dtype.kind not in "iu":
        raise UsageError(
            f"clusters of {clusters.dtype} with shape {clusters.shape}",
            expected=f"integers, one for each of the {source.n_samples} samples",
            todo="take them from the rows of this source's samples",
        )
    chosen = np.arange(source.n_samples)
    if n < source.n_samples:
        chosen = np.sort(numpy_generator(ORDER_SEED, "evaluated samples").choice(source.n_samples, n, replace=False))
    present, numbers = np.unique(clusters[chosen], return_inverse=True)
    if len(present) < 2:
        raise UsageError(
            "samples of one cluster, which have no standard error",
            expected="two clusters or more, better ten",
            todo="cluster by row instead of by document",
        )
    labels = torch.from_numpy(numbers.astype(np.int64))
    total = torch.zeros(source.d_in, dtype=torch.float64)
    for x, _ in _in_order(source, chosen, labels):
        total += x.double().sum(0)
    # With the exact mean as origin the spread of a cluster needs no correction, however far its own mean is off.
    return _empty(total / n, dictionary.n_features, len(present)), _in_order(source, chosen, labels)


def _in_order(source: OrderedSource, chosen: np.ndarray, labels: Int64[Tensor, "n"]) -> _Parts:
    for shard in source.shards():
        first, stop = np.searchsorted(chosen, [shard.first_sample, shard.first_sample + len(shard.acts)]).tolist()
        for start in range(first, stop, BATCH_SIZE):
            part = slice(start, min(start + BATCH_SIZE, stop))
            yield shard.acts[torch.from_numpy(chosen[part] - shard.first_sample)], labels[part]


def _add(
    sums: _Sums,
    x: Float[Tensor, "n d_in"],
    labels: Int64[Tensor, "n"] | None,
    codes: Codes,
    x_hat: Float[Tensor, "n d_in"],
) -> None:
    values, guess = x.double(), x_hat.double()
    centred = values - sums.origin
    norm, norm_hat = values.norm(dim=1), guess.norm(dim=1)
    kept = norm > 0
    measures = torch.zeros(len(x), 7, dtype=torch.float64)
    measures[:, ERROR] = (values - guess).square().sum(1)
    measures[:, SPREAD] = centred.square().sum(1)
    measures[:, N_ACTIVE] = codes.indptr.diff().double()
    measures[kept, COSINE] = (values * guess).sum(1)[kept] / (norm * norm_hat.clamp_min(1e-30))[kept]
    measures[kept, L2_RATIO] = norm_hat[kept] / norm[kept]
    measures[:, ONE] = 1
    measures[:, HAS_NORM] = kept.double()
    sums.units.add(measures, labels)
    sums.offset += centred.sum(0)
    sums.n_fired += torch.bincount(codes.features, minlength=codes.n_features)


def _result(sums: _Sums, dictionary: Dictionary, *, is_clustered: bool) -> Evaluation:
    units, totals = sums.units, sums.units.totals
    n, n_kept = totals[ONE], max(1.0, totals[HAS_NORM])
    variance = totals[SPREAD] - float(sums.offset.square().sum()) / n
    if not variance > 0:
        raise BadDataError(
            f"{int(n)} samples that are all equal", expected="samples that differ", todo="check the site"
        )
    fvu, l0, cosine = totals[ERROR] / variance, totals[N_ACTIVE] / n, totals[COSINE] / n_kept
    n_dead = int((sums.n_fired == 0).sum())
    return Evaluation(
        dictionary_digest=dictionary.digest,
        n_samples=int(n),
        n_clusters=units.n_units if is_clustered else None,
        n_features=dictionary.n_features,
        fvu=fvu,
        fvu_standard_error=units.standard_error(ERROR, SPREAD, ratio=fvu, denominator=variance),
        explained_variance=1 - fvu,
        l0=l0,
        l0_standard_error=units.standard_error(N_ACTIVE, ONE, ratio=l0, denominator=n),
        dead_share=n_dead / dictionary.n_features,
        n_dead=n_dead,
        cosine=cosine,
        cosine_standard_error=units.standard_error(COSINE, HAS_NORM, ratio=cosine, denominator=n_kept),
        l2_ratio=totals[L2_RATIO] / n_kept,
        n_zero_samples=int(n - totals[HAS_NORM]),
        density=(sums.n_fired.double() / n).tolist(),
    )
