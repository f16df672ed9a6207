"""Paired differences weighted to the corpus: base contexts are drawn evenly over regions, rows are not."""

from __future__ import annotations

import numpy as np

from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import FEW, n_clusters_of
from mechscope.stats import bootstrap_mean_cells

__all__ = ["CORPUS_COLUMNS", "corpus_means"]

CORPUS_COLUMNS = ("corpus_delta", "corpus_low", "corpus_high")


def corpus_means(deltas: np.ndarray, bases: Bases, *, seed: int) -> list[dict[str, float]]:
    """Weighted mean of the differences [n, cells] of each cell with its 95 % interval, under `CORPUS_COLUMNS`.

    Cells of fewer than 5 independent base contexts have NaN.
    """
    found = np.full((deltas.shape[1], 3), np.nan)
    enough = n_clusters_of(deltas, bases.clusters) >= FEW
    if enough.any():
        kept = ~np.isnan(deltas[:, enough]).all(axis=1)
        intervals = bootstrap_mean_cells(
            deltas[:, enough][kept], seed=seed, clusters=bases.clusters[kept], weights=bases.weights[kept]
        )
        found[enough] = np.stack([intervals.value, intervals.low, intervals.high], axis=1)
    return [dict(zip(CORPUS_COLUMNS, map(float, row), strict=True)) for row in found]
