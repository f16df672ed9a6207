"""Which rows are for training, which are held out, and what a dictionary does on the held-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechscope.activations import ActivationCache
from mechscope.core import SILENT, Progress, UsageError
from mechscope.corpora import Corpus
from mechscope.dictionaries import Dictionary
from mechscope.training import Evaluation, cluster_labels, evaluate

__all__ = ["HeldOut", "evaluate_held_out", "held_out_rows", "train_rows"]


@dataclass(frozen=True)
class HeldOut:
    """An evaluation on held-out rows, and what its standard errors take as independent."""

    evaluation: Evaluation
    clustered_by: Literal["document", "row", "sample"]


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
    if labels.max() == 0:
        return HeldOut(evaluate(dictionary, source, progress=progress), "sample")
    return HeldOut(evaluate(dictionary, source, clusters=labels, progress=progress), clustered_by)
