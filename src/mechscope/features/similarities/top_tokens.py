"""Similarity of top examples: features whose largest activations stand on the same tokens."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mechscope.core.kinds import SIMILARITIES
from mechscope.features.inputs import FeatureInputs

__all__ = ["top_tokens"]


@SIMILARITIES.register("top_tokens")
def top_tokens(inputs: FeatureInputs, feature: int) -> np.ndarray:
    """Cosine of the token counts among each feature's stored top samples, weighted by inverse document frequency.

    float64 [n_features], in 0..1; 0 for features that are never active. Cost: the tokens of n_features * n_top samples.
    """
    samples = inputs.store.column("top_samples").astype(np.int64)
    filled = np.arange(samples.shape[1]) < inputs.store.counts()[:, None]
    owner, ids = inputs.tokens.pairs(samples[filled])
    features = np.nonzero(filled)[0][owner]
    shape = (inputs.store.n_features, inputs.tokens.d_vocab)
    profile = sparse.coo_array((inputs.idf[ids], (features, ids)), shape=shape).tocsr()
    norms = np.sqrt(profile.multiply(profile).sum(axis=1))
    products = profile @ profile[[feature]].toarray()[0]
    scale = norms * norms[feature]
    cosines: np.ndarray = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return cosines
