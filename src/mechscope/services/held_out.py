"""Which rows are for training, which are held out, and what a dictionary does on the held-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.activations import ActivationCache
from mechscope.core import SILENT, Progress, UsageError, numpy_generator
from mechscope.corpora import Corpus
from mechscope.dictionaries import Dictionary
from mechscope.training import Evaluation, cluster_labels, evaluate

__all__ = ["HeldOut", "PcaControl", "evaluate_held_out", "held_out_rows", "train_rows"]

CONTROL_SAMPLES = 20_000
CONTROL_SEED = 0
CONTROL_WIDTH_MAX = 2048


@dataclass(frozen=True)
class HeldOut:
    """An evaluation on held-out rows, and what its standard errors take as independent."""

    evaluation: Evaluation
    clustered_by: Literal["document", "row", "sample"]
    control: PcaControl | None


@dataclass(frozen=True)
class PcaControl:
    """FVU of as many principal components as the dictionary has features active a sample, on the same held-out rows.

    Fitted on `n_fitted` training samples, measured on `n_measured` held-out ones (random subsets).
    """

    n_components: int
    fvu: float
    n_fitted: int
    n_measured: int


def train_rows(corpus: Corpus) -> np.ndarray:
    """Rows that training may see: the "train" split, or every row when the corpus has no split."""
    splits = corpus.names_with_role("split", "row")
    return corpus.column(splits[0]).astype(str) == "train" if splits else np.ones(corpus.n_rows, dtype=bool)


def held_out_rows(corpus: Corpus) -> np.ndarray:
    """Rows of the "test" split. Raises UsageError when the corpus has no split."""
    splits = corpus.names_with_role("split", "row")
    if not splits:
        raise UsageError(
            f"corpus {corpus.name!r} has no split column",
            expected="a row column with role 'split' and values train, valid, test",
            todo="make the corpus with a source that splits by document",
        )
    rows: np.ndarray = corpus.column(splits[0]).astype(str) == "test"
    return rows


def evaluate_held_out(
    dictionary: Dictionary, cache: ActivationCache, corpus: Corpus, progress: Progress = SILENT
) -> HeldOut:
    """Evaluate on the samples of the "test" rows, with standard errors over documents, else rows.

    A single held-out row leaves nothing to resample; then samples are taken as independent, and it says so.
    """
    source = cache.restricted(held_out_rows(corpus))
    clustered_by, labels = cluster_labels(corpus, source.sample_rows())
    one = labels.max() == 0
    evaluation = evaluate(dictionary, source, clusters=None if one else labels, progress=progress)
    control = _pca_control(cache.restricted(train_rows(corpus)), source, round(evaluation.l0))
    return HeldOut(evaluation, "sample" if one else clustered_by, control)


def _pca_control(fitted: ActivationCache, measured: ActivationCache, n_components: int) -> PcaControl | None:
    """Principal components by one eigendecomposition [d_in d_in]; None where that would take minutes."""
    if not 0 < n_components < fitted.d_in <= CONTROL_WIDTH_MAX:
        return None
    train, test = _draw(fitted), _draw(measured)
    mean = train.mean(0)
    _, directions = torch.linalg.eigh((train - mean).T @ (train - mean))
    kept = directions[:, -n_components:]
    centred = test - mean
    error = (centred - centred @ kept @ kept.T).square().sum()
    spread = (test - test.mean(0)).square().sum()
    return PcaControl(n_components, float(error / spread), len(train), len(test))


def _draw(cache: ActivationCache) -> Float[Tensor, "n d_in"]:
    samples = np.arange(cache.n_samples)
    if len(samples) > CONTROL_SAMPLES:
        generator = numpy_generator(CONTROL_SEED, "pca control")
        samples = np.sort(generator.choice(len(samples), CONTROL_SAMPLES, replace=False))
    return cache.read(samples).double()
