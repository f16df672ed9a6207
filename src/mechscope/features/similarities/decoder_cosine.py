"""Similarity of decoder rows: features that write in the same direction."""

from __future__ import annotations

import numpy as np
import torch

from mechscope.core.kinds import SIMILARITIES
from mechscope.features.inputs import FeatureInputs

__all__ = ["decoder_cosine"]


@SIMILARITIES.register("decoder_cosine")
def decoder_cosine(inputs: FeatureInputs, feature: int) -> np.ndarray:
    """Cosine of the decoder rows of one feature and every other, in -1..1.

    float64 [n_features]; a row of length 0 has cosine 0 with all. Cost: n_features * d_in multiplications.
    """
    W_dec = inputs.dictionary.W_dec.detach().cpu()
    norms = W_dec.norm(dim=1).clamp_min(torch.finfo(W_dec.dtype).tiny)
    cosines: np.ndarray = ((W_dec @ W_dec[feature]) / (norms * norms[feature])).double().numpy()
    return cosines
