"""Features that resemble one, by a registered similarity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mechscope.core import Spec
from mechscope.core.kinds import SIMILARITIES
from mechscope.features.inputs import FeatureInputs

__all__ = ["Neighbour", "SimilarFeatures", "Similarity", "similar"]

Similarity = Callable[[FeatureInputs, int], np.ndarray]
"""Of one feature to all: (inputs, feature) -> float64 [n_features], larger is more alike."""


class Neighbour(Spec):
    """One similar feature; `n_active` samples are behind it."""

    feature: int
    value: float
    n_active: int


class SimilarFeatures(Spec):
    """The features most like one, most alike first, itself left out."""

    feature: int
    method: str
    n_compared: int
    neighbours: tuple[Neighbour, ...]


def similar(inputs: FeatureInputs, feature: int, method: str = "decoder_cosine", top_k: int = 10) -> SimilarFeatures:
    """The `top_k` features most like `feature` by the similarity called `method`; ties by smaller id.

    Raises:
        NotFoundError: an unknown similarity (nearest offered), or an unknown feature.
    """
    measure: Similarity = SIMILARITIES.get(method)
    counts = inputs.store.counts()
    inputs.store.count(feature)  # refuses an unknown id before any work
    values = measure(inputs, feature)
    values[feature] = -np.inf
    order = np.argsort(-values, kind="stable")[: min(top_k, len(values) - 1)].tolist()
    found = (Neighbour(feature=i, value=float(values[i]), n_active=int(counts[i])) for i in order)
    return SimilarFeatures(feature=feature, method=method, n_compared=len(values) - 1, neighbours=tuple(found))
