"""What is independent in held-out data: documents, rows or samples; and standard errors that respect it.

Token positions of one row, and rows of one document, are alike. An error bar that takes them as independent can be
several times too small, so sums are taken over each cluster first and the clusters are the units.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechscope.corpora import Corpus

__all__ = ["DOCUMENTS_MIN", "UnitSums", "cluster_labels"]

DOCUMENTS_MIN = 10


def cluster_labels(corpus: Corpus, rows: np.ndarray) -> tuple[Literal["document", "row"], np.ndarray]:
    """What to take as independent among some rows, and the number of its cluster for each entry.

    Documents, where the corpus names them and at least `DOCUMENTS_MIN` are among the rows; otherwise the rows
    themselves, since a standard error or a bootstrap over fewer clusters is too small.

    Args:
        rows: corpus row of each entry, integers [n], repeats allowed (`cache.sample_rows()` for each sample).

    Returns:
        "document" or "row", and int64 [n] numbers from 0.
    """
    names = corpus.names_with_role("document", "row")
    if names:
        documents = np.unique(corpus.row_columns[names[0]], return_inverse=True)[1][rows]
        present, labels = np.unique(documents, return_inverse=True)
        if len(present) >= DOCUMENTS_MIN:
            return "document", labels.astype(np.int64)
    return "row", np.unique(rows, return_inverse=True)[1].astype(np.int64)


class UnitSums:
    """Sums of some measures of each unit, for ratios of totals and their standard errors.

    A unit is a sample, or a cluster of samples. Memory: k * k numbers for samples, n_clusters * k for clusters.

    Args:
        k: number of measures.
        n_clusters: number of clusters, or None when every sample is a unit.
    """

    def __init__(self, k: int, n_clusters: int | None) -> None:
        self._totals = torch.zeros(k, dtype=torch.float64)
        self._products = torch.zeros(k, k, dtype=torch.float64)
        self._units = None if n_clusters is None else torch.zeros(n_clusters, k, dtype=torch.float64)
        self._n_samples = 0

    @property
    def totals(self) -> list[float]:
        """The sum of each measure over all samples."""
        totals: list[float] = self._totals.tolist()
        return totals

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self._n_samples if self._units is None else len(self._units)

    def add(self, values: Float[Tensor, "n k"], labels: Int64[Tensor, "n"] | None) -> None:
        """Add samples: float64 measures, and the cluster of each (None when every sample is a unit)."""
        self._totals += values.sum(0)
        self._n_samples += len(values)
        if self._units is None:
            self._products += values.t() @ values
        elif labels is not None:
            self._units.index_add_(0, labels, values)

    def standard_error(self, above: int, below: int, *, ratio: float, denominator: float) -> float:
        """Delta method for the ratio of the totals of two measures, units independent; needs two units.

        Args:
            above, below: columns of the measures.
            ratio, denominator: the ratio, and what its numerator was divided by.
        """
        n, products = self.n_units, self._products if self._units is None else self._units.t() @ self._units
        aa, ab, bb = (float(products[i, j]) for i, j in ((above, above), (above, below), (below, below)))
        slack = float(self._totals[above] - ratio * self._totals[below])
        noise = max(0.0, aa - 2 * ratio * ab + ratio * ratio * bb - slack * slack / n)
        return float((noise * n / (n - 1)) ** 0.5 / denominator)
