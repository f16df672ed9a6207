"""Fitting a tuned lens.

    A_l = 0, b_l = 0                                         the logit lens
    for each step: one batch, some of its real tokens
        for each site l: loss_l = mean KL(model's output || readout(h_l + h_l A_l + b_l))
        one Adam step on (A_l, b_l) with the gradient of loss_l; the model's weights stay as they are
    score on held-out rows, the logit lens beside it

Belrose et al. 2023 (arXiv 2303.08112), section 3, with the same map, start and loss. We differ: Adam at a linearly
falling rate for their SGD with Nesterov momentum, no weight decay, and no clipping of the gradient.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mechscope import __version__
from mechscope.core import SILENT, BadDataError, LayerComponent, Progress, UsageError, derive_seed
from mechscope.core.hugging_face import transformers_version
from mechscope.models.batch import Batch
from mechscope.models.lens.logit_lens import stream_sites
from mechscope.models.lens.predictions import Vocabulary, vocabulary_of
from mechscope.models.lens.readings import Reading, last_stream, read_streams
from mechscope.models.lens.tuned_lens import TunedLens, translated
from mechscope.models.lens.tuned_records import TunedLensRecord, TunedLensSpec
from mechscope.models.lens.tuned_scores import score_tuned_lens
from mechscope.models.model import Model

__all__ = ["fit_tuned_lens"]


def fit_tuned_lens(
    model: Model,
    train: Sequence[Batch],
    held_out: Sequence[Batch],
    spec: TunedLensSpec | None = None,
    progress: Progress = SILENT,
) -> TunedLens:
    """Fit a translator for `embed` and each `resid_post` but the last, and score them on held-out rows.

    Args:
        model: as for `logit_lens`; its weights and their gradients are not touched.
        train: batches to learn from; each is run again whenever its turn comes.
        held_out: batches to score on, at least two rows that do not stand in `train` (those that do are left out
            and counted).
        spec: settings; the defaults by default.
        progress: one bar of `n_steps`.

    Deterministic by `spec.seed` on one machine and thread count. Cost: a step is one forward and, for each site, one
    unembedding of `max_tokens` readings forward and backward; scoring is two lenses over `held_out`. Memory: one
    batch's streams, [max_tokens d_vocab] a few times, and the translators three times (Adam).

    Raises:
        UsageError: no batches, fewer than two held-out rows that are new, a model that `logit_lens` refuses.
        BadDataError: a loss that is not finite.
    """
    spec = spec or TunedLensSpec()
    if not train:
        raise UsageError("no batch to fit on", expected="at least one", todo="pass training batches")
    started = time.perf_counter()
    last = last_stream(model)
    sites = [site for site in stream_sites(model) if site != last]
    fit = _Fit(model, sites, spec)
    losses = []
    with progress.task("fit the tuned lens", total=spec.n_steps, unit="step") as task:
        for step, batch in enumerate(_batches(train, spec)):
            losses.append(fit.step(batch, lr=spec.lr * (1 - step / spec.n_steps)))
            task.advance(note=f"KL {losses[-1]:.3f} nats")
    A = torch.stack([matrix.detach().cpu() for matrix, _ in fit.translators])
    b = torch.stack([offset.detach().cpu() for _, offset in fit.translators])

    def translate(site: LayerComponent, stream: Tensor) -> Tensor:
        return translated(stream, *(part.detach() for part in fit.translators[sites.index(site)]))

    record = TunedLensRecord(
        model=model.name,
        weights_digest=model.weights_digest,
        d_model=model.d_model,
        sites=tuple(sites),
        spec=spec,
        n_train_rows=sum(batch.n_rows for batch in train),
        losses=tuple(losses),
        scores=score_tuned_lens(model, sites, translate, train, held_out),
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        wall_seconds=round(time.perf_counter() - started, 3),
        versions={"mechscope": __version__, "torch": torch.__version__, "transformers": transformers_version()},
    )
    return TunedLens(A, b, record)


class _Fit:
    """The translators on the model's device, and their optimiser."""

    def __init__(self, model: Model, sites: Sequence[LayerComponent], spec: TunedLensSpec) -> None:
        self.model = model
        self.sites = sites
        self.spec = spec
        self.vocabulary: Vocabulary = vocabulary_of(model)
        self.translators = [(_zeros(model, model.d_model), _zeros(model)) for _ in sites]
        self.optimizer = torch.optim.Adam([part for pair in self.translators for part in pair], lr=spec.lr)
        self.generator = torch.Generator().manual_seed(derive_seed(spec.seed, "tuned lens", "tokens"))

    def step(self, batch: Batch, *, lr: float) -> float:
        """One step; the mean loss over the sites before it."""
        reading = self._thinned(read_streams(self.model, batch, self.sites, "all"))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        losses = []
        for site, pair in zip(self.sites, self.translators, strict=True):
            loss = self._loss(reading, translated(reading.values[site], *pair))
            # only the translators get gradients: the model's own .grad stays as it was
            for part, gradient in zip(pair, torch.autograd.grad(loss, pair), strict=True):
                part.grad = gradient
            losses.append(float(loss.detach()))
        mean = sum(losses) / len(losses)
        if not mean < float("inf"):
            raise BadDataError(f"the loss of a step is {mean}", expected="a finite loss", todo="lower `lr`")
        self.optimizer.step()
        return mean

    def _loss(self, reading: Reading, stream: Tensor) -> Tensor:
        logits = reading.readout.logits(stream, reading.places)
        return self.vocabulary.divergence(reading.output, logits).mean()

    def _thinned(self, reading: Reading) -> Reading:
        n_readings = reading.places.n_readings
        if reading.places.pooling is not None or n_readings <= self.spec.max_tokens:
            return reading
        drawn = torch.randperm(n_readings, generator=self.generator)[: self.spec.max_tokens]
        return reading.subset(drawn.to(self.model.device))


def _zeros(model: Model, *more: int) -> Tensor:
    return torch.zeros(*more, model.d_model, dtype=torch.float32, device=model.device, requires_grad=True)


def _batches(train: Sequence[Batch], spec: TunedLensSpec) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(derive_seed(spec.seed, "tuned lens", "batches"))
    waiting: list[int] = []
    for _ in range(spec.n_steps):
        waiting = waiting or torch.randperm(len(train), generator=generator).tolist()
        yield train[waiting.pop()]
