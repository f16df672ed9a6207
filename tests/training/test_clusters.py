from __future__ import annotations

import numpy as np
import pytest

from mechscope.corpora import Column, Corpus, Ragged
from mechscope.training import cluster_labels


def corpus_of(documents: np.ndarray | None) -> Corpus:
    n_rows = 40 if documents is None else len(documents)
    return Corpus(
        name="rows",
        kind="text",
        tokens=Ragged.from_rows([np.zeros(2, dtype=np.int64)] * n_rows),
        vocabulary=("a",),
        row_columns={} if documents is None else {"page": documents},
        columns={} if documents is None else {"page": Column(level="row", role="document")},
    )


@pytest.mark.parametrize("dtype", [str, np.int64])
def test_documents_count_when_ten_of_them_are_among_the_rows(dtype: type) -> None:
    pages: np.ndarray = (np.arange(40) // 4 * 7).astype(dtype)
    samples = np.repeat(np.arange(40, dtype=np.int32), 3)
    unit, labels = cluster_labels(corpus_of(pages), samples)
    assert unit == "document"
    assert len(np.unique(labels)) == 10
    assert all(len(np.unique(labels[samples // 4 == page])) == 1 for page in range(10))
    unit, labels = cluster_labels(corpus_of(pages), samples[samples < 36])
    assert unit == "row"
    assert np.array_equal(labels, samples[samples < 36])


def test_rows_count_without_documents_and_are_numbered_from_zero() -> None:
    unit, labels = cluster_labels(corpus_of(None), np.array([9, 9, 5, 30]))
    assert (unit, labels.tolist()) == ("row", [1, 1, 0, 2])
