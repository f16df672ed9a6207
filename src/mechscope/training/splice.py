"""What the model loses when a reconstruction takes the place of the activation at a site.

The same rows run four times: untouched, with the reconstruction spliced in, with zeros, and with the mean activation.

    recovered = (loss ablated - loss spliced) / (loss ablated - loss clean)      1: nothing lost, 0: as bad as ablating

For language models the loss is the cross-entropy of the next token, and KL(clean || spliced) stands beside it; for set
models it is the binary cross-entropy. Intervals are percentiles of a bootstrap over rows, since predictions of one
row are not independent; over documents where the corpus names them and at least ten were held out (a
bootstrap over fewer clusters gives intervals that are too short).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechscope.activations import make_batches
from mechscope.core import SILENT, LayerComponent, Progress, Spec, UsageError, numpy_generator
from mechscope.corpora import Corpus
from mechscope.dictionaries import Dictionary
from mechscope.models import Batch, Edit, Model
from mechscope.training.clusters import cluster_labels

__all__ = ["Estimate", "SpliceEvaluation", "SpliceSpec", "evaluate_splice"]

CONDITIONS = ("clean", "spliced", "zero_ablated", "mean_ablated")
BOOTSTRAP_CHUNK = 64
CLUSTERS_MIN = 2


class Estimate(Spec):
    """A value with the ends of its 95 % bootstrap interval; both ends are None when there is no interval."""

    value: float
    low: float | None
    high: float | None


class SpliceSpec(Spec):
    """How to measure: tokens a batch, and the bootstrap's size and seed."""

    batch_tokens: int = 4096
    n_bootstrap: int = 1000
    seed: int = 0


class SpliceEvaluation(Spec):
    """Mean losses for each prediction, in nats.

    metric: "cross_entropy" (next token) or "binary_cross_entropy" (mean over the vocabulary).
    n_predictions: over how many tokens (or rows of a set model) the means run.
    clustered_by, n_clusters: what was resampled, and how many of them there are; with fewer than two, no value has
        an interval. When it says "row" and the rows are of few documents, intervals speak of rows of those documents.
    kl: KL(clean || spliced) of the next-token distribution; None for set models.
    recovered_from_zero, recovered_from_mean: the share of the ablation's damage that the reconstruction undoes; None
        where the ablation does no damage (its loss does not exceed the clean one), and without an interval where it
        does none in some resample.
    recovered_reason: why one of the two is None or has no interval; "" when both have one.
    """

    site: str
    dictionary_digest: str
    metric: str
    n_rows: int
    clustered_by: Literal["document", "row"]
    n_clusters: int
    n_predictions: int
    clean: Estimate
    spliced: Estimate
    zero_ablated: Estimate
    mean_ablated: Estimate
    kl: Estimate | None
    recovered_from_zero: Estimate | None
    recovered_from_mean: Estimate | None
    recovered_reason: str
    settings: SpliceSpec


def evaluate_splice(
    dictionary: Dictionary,
    model: Model,
    *,
    corpus: Corpus,
    rows: np.ndarray,
    site: LayerComponent,
    settings: SpliceSpec | None = None,
    progress: Progress = SILENT,
) -> SpliceEvaluation:
    """Run the rows clean, spliced, zero-ablated and mean-ablated: four forward passes, and a fifth up to the site.

    Args:
        dictionary: of activations at `site`; its reconstruction is written at every position.
        model: a causal language model or a set model.
        corpus, rows: the held-out rows, int64 [n].
        site: a site whose value is one vector a position (or one a row, `pooled`).
        settings: batch size and bootstrap.

    Raises:
        UsageError: the site's width is not the dictionary's, or the model has no such loss.
        BadDataError: NaN at the site, or rows that the model cannot run.
    """
    settings = settings or SpliceSpec()
    if model.site_shape(site) != (dictionary.d_in,):
        raise UsageError(
            f"site {site} holds values of shape {model.site_shape(site)}",
            expected=f"({dictionary.d_in},), what the dictionary reads",
            todo="splice it in at the site that it was trained on",
        )
    if model.kind not in {"causal_lm", "set"}:
        raise UsageError(
            f"a model of kind {model.kind!r}", expected="'causal_lm' or 'set'", todo="splice into another model"
        )
    mean = _site_mean(model, corpus, rows, site, settings)
    writers: list[Callable[[Tensor, Batch], Tensor] | None] = [
        None,
        lambda value, _: dictionary.reconstruct(value),
        lambda value, _: torch.zeros_like(value),
        lambda value, _: mean.to(value.dtype).expand_as(value).clone(),
    ]
    sums = np.zeros((corpus.n_rows, len(CONDITIONS) + 2))  # four losses, KL, number of predictions
    with progress.task("splice", total=len(rows), unit="row") as task, torch.no_grad():
        for batch_rows, batch in make_batches(corpus, rows, model, settings.batch_tokens):
            sums[batch_rows] = _row_sums(model, batch, site, writers)
            task.advance(len(batch_rows))
    return _result(dictionary, model, corpus, rows, site, settings, sums[rows])


def _site_mean(
    model: Model, corpus: Corpus, rows: np.ndarray, site: LayerComponent, settings: SpliceSpec
) -> Float[Tensor, "d_in"]:
    total, n = torch.zeros(model.site_shape(site), dtype=torch.float64, device=model.device), 0
    for _, batch in make_batches(corpus, rows, model, settings.batch_tokens):
        value = model.capture(batch, [site]).values[site]
        kept = value[batch.attention_mask.bool()] if value.ndim == 3 else value
        total, n = total + kept.double().sum(0), n + len(kept)
    return total / n


def _row_sums(
    model: Model, batch: Batch, site: LayerComponent, writers: list[Callable[[Tensor, Batch], Tensor] | None]
) -> np.ndarray:
    """[batch, 6]: summed losses of the four conditions, summed KL, number of predictions."""
    owner = _owners(model, batch)
    sums = torch.zeros(batch.n_rows, len(writers) + 2, dtype=torch.float64)
    clean: Tensor | None = None
    for index, write in enumerate(writers):
        logits = model.logits(batch, edits=[] if write is None else [Edit(site, write)])
        sums[:, index].index_add_(0, owner, model.loss(batch, logits).double().cpu())
        if clean is None:
            clean = logits
        elif index == 1 and model.kind == "causal_lm":
            sums[:, -2].index_add_(0, owner, _kl(batch, clean, logits).double().cpu())
    sums[:, -1] = torch.bincount(owner, minlength=batch.n_rows).double()
    array: np.ndarray = sums.numpy()
    return array


def _predicted(batch: Batch) -> Tensor:
    real = batch.attention_mask.bool()
    return real[:, :-1] & real[:, 1:]


def _owners(model: Model, batch: Batch) -> Int64[Tensor, "n"]:
    """The row of the batch that each entry of `Model.loss` belongs to."""
    if model.kind == "set":
        return torch.arange(batch.n_rows)
    return _predicted(batch).nonzero()[:, 0].cpu()


def _kl(batch: Batch, clean: Tensor, spliced: Tensor) -> Float[Tensor, "n"]:
    kept = _predicted(batch)
    p = clean[:, :-1][kept].float().log_softmax(-1)
    q = spliced[:, :-1][kept].float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def _result(
    dictionary: Dictionary,
    model: Model,
    corpus: Corpus,
    rows: np.ndarray,
    site: LayerComponent,
    settings: SpliceSpec,
    sums: np.ndarray,
) -> SpliceEvaluation:
    clustered_by, labels = cluster_labels(corpus, rows)
    clusters = np.zeros((int(labels.max()) + 1, sums.shape[1]))
    np.add.at(clusters, labels, sums)
    draws = _bootstrap(clusters, settings)
    point = clusters.sum(0)
    losses = {name: _estimate(point[i] / point[-1], draws[:, i] / draws[:, -1]) for i, name in enumerate(CONDITIONS)}
    kl = _estimate(point[4] / point[-1], draws[:, 4] / draws[:, -1]) if model.kind == "causal_lm" else None
    from_zero, zero_reason = _recovered(point, draws, "zero_ablated")
    from_mean, mean_reason = _recovered(point, draws, "mean_ablated")
    return SpliceEvaluation(
        site=str(site),
        dictionary_digest=dictionary.digest,
        metric="cross_entropy" if model.kind == "causal_lm" else "binary_cross_entropy",
        n_rows=len(rows),
        clustered_by=clustered_by,
        n_clusters=len(clusters),
        n_predictions=int(point[-1]),
        kl=kl,
        recovered_from_zero=from_zero,
        recovered_from_mean=from_mean,
        recovered_reason="; ".join(dict.fromkeys(reason for reason in (zero_reason, mean_reason) if reason)),
        settings=settings,
        **losses,
    )


def _bootstrap(clusters: np.ndarray, settings: SpliceSpec) -> np.ndarray:
    """Column sums of resampled clusters, [n_bootstrap, 6], without resamples that hold no prediction.

    None at all, [0, 6], when there are too few clusters to resample.
    """
    n = len(clusters)
    if n < CLUSTERS_MIN:
        return np.empty((0, clusters.shape[1]))
    generator = numpy_generator(settings.seed, "splice bootstrap")
    parts = []
    for start in range(0, settings.n_bootstrap, BOOTSTRAP_CHUNK):
        size = min(BOOTSTRAP_CHUNK, settings.n_bootstrap - start)
        parts.append(generator.multinomial(n, np.full(n, 1 / n), size=size) @ clusters)
    draws: np.ndarray = np.concatenate(parts)
    return draws[draws[:, -1] > 0]


def _recovered(point: np.ndarray, draws: np.ndarray, name: str) -> tuple[Estimate | None, str]:
    """The share recovered from one ablation, and why it is missing or has no interval ("" when it has one)."""
    ablated, words = CONDITIONS.index(name), name.replace("_ablated", " ablation")
    gap = point[ablated] - point[0]
    if gap <= 0:
        return None, f"{words} does no damage, so there is nothing to recover"
    value = (point[ablated] - point[1]) / gap
    gaps = draws[:, ablated] - draws[:, 0]
    if not len(draws):
        return _estimate(value, draws[:, 0]), "one row is too little to resample, so there is no interval"
    n_harmless = int((gaps <= 0).sum())
    if n_harmless:
        reason = f"{words} does no damage in {n_harmless:,} of {len(draws):,} resamples, so there is no interval"
        return Estimate(value=float(value), low=None, high=None), reason
    return _estimate(value, (draws[:, ablated] - draws[:, 1]) / gaps), ""


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    if not len(draws):
        return Estimate(value=float(value), low=None, high=None)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value=float(value), low=float(low), high=float(high))
