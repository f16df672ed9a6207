"""Many builds to tokens at once: the array form of `vocabulary.encode`."""

from __future__ import annotations

import numpy as np

from mechscope.corpora.domains.splatoon.abilities import FAMILIES, MAIN_ONLY
from mechscope.corpora.domains.splatoon.points import THRESHOLDS
from mechscope.corpora.domains.splatoon.vocabulary import NULL_ID, VOCABULARY, Encoding

__all__ = ["encode_rows", "ragged_ids"]


def encode_rows(points: np.ndarray, main_only: np.ndarray, encoding: Encoding = "cumulative") -> np.ndarray:
    """Which tokens each build has, bool [n_rows, 140].

    Args:
        points: ability points of each family, integers [n_rows, 14].
        main_only: which main-only abilities are there, bool [n_rows, 12].
        encoding: every threshold reached, or the largest one only.
    """
    reached = points[:, :, None] >= np.array(THRESHOLDS)
    if encoding == "family":
        reached[:, :, :-1] &= ~reached[:, :, 1:]
    n_stacked = len(FAMILIES) * len(THRESHOLDS)
    hot = np.zeros((len(points), len(VOCABULARY)), dtype=bool)
    hot[:, :n_stacked] = reached.reshape(len(points), n_stacked)
    hot[:, n_stacked : n_stacked + len(MAIN_ONLY)] = main_only
    hot[:, NULL_ID] = ~hot.any(axis=1)
    return hot


def ragged_ids(hot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Token ids in rising order as (ids int32 [n_tokens], indptr int64 [n_rows + 1])."""
    ids = np.nonzero(hot)[1].astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(hot.sum(axis=1))]).astype(np.int64)
    return ids, indptr
