"""Similarity of activity: features that are active on the same samples.

With n_i, n_j active samples, n_ij common ones and N samples: Jaccard = n_ij / (n_i + n_j - n_ij), and
phi = (N n_ij - n_i n_j) / sqrt(n_i (N - n_i) n_j (N - n_j)), the correlation of the two "is active" variables.
"""

from __future__ import annotations

import numpy as np

from mechscope.core.kinds import SIMILARITIES
from mechscope.corpora import token_positions
from mechscope.features.inputs import FeatureInputs

__all__ = ["jaccard", "phi"]


@SIMILARITIES.register("jaccard")
def jaccard(inputs: FeatureInputs, feature: int) -> np.ndarray:
    """Jaccard index of the active samples of one feature and every other, in 0..1.

    float64 [n_features], exact; 0 where neither is ever active. Cost: one pass over the row-major segments that hold
    an active sample.
    """
    counts = inputs.store.counts().astype(np.float64)
    common = common_samples(inputs, feature)
    either = counts + counts[feature] - common
    shares: np.ndarray = np.divide(common, either, out=np.zeros_like(common), where=either > 0)
    return shares


@SIMILARITIES.register("phi")
def phi(inputs: FeatureInputs, feature: int) -> np.ndarray:
    """Correlation of "is active" between one feature and every other, in -1..1.

    float64 [n_features], exact, zeros counted; 0 where one of them is always or never active. Cost: as `jaccard`.
    """
    n, counts = float(inputs.store.n_samples), inputs.store.counts().astype(np.float64)
    common = common_samples(inputs, feature)
    own = counts[feature]
    spread = np.sqrt(own * (n - own) * counts * (n - counts))
    raw = n * common - own * counts
    correlations: np.ndarray = np.divide(raw, spread, out=np.zeros_like(common), where=spread > 0)
    return correlations


def common_samples(inputs: FeatureInputs, feature: int) -> np.ndarray:
    """Samples on which both are active, for every other feature: float64 [n_features]."""
    samples = inputs.store.feature(feature)[0].astype(np.int64)
    common = np.zeros(inputs.store.n_features, np.int64)
    for first, rows in inputs.store.segments(holding=samples):
        low, high = np.searchsorted(samples, [first, first + rows.n_samples])
        local = samples[low:high] - first
        entries = token_positions(rows.indptr[local], rows.indptr[local + 1] - rows.indptr[local])
        common += np.bincount(rows.features[entries], minlength=len(common))
    return common.astype(np.float64)
