"""Which samples a corpus gives at a site, and how they are taken out of a captured batch.

Everything here follows from the corpus and the token policy alone, so that the number of samples, their order and
the bytes they need are known before the model runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.activations.policy import TokenPolicy
from mechscope.corpora.corpus import Corpus, token_positions

__all__ = ["Gathered", "Selection"]


class Gathered(NamedTuple):
    """Vectors of a batch and the samples they are: `vectors` [n d_in], `samples` int64 [n]."""

    vectors: Float[Tensor, "n d_in"]
    samples: np.ndarray


@dataclass(frozen=True)
class Selection:
    """The samples of one site over a corpus, in natural order.

    Attributes:
        how: "each" marked token, the "mean" of a row's marked tokens, or "pooled" (one vector a row, from the site).
        indptr: the corpus' row bounds, int64 [n_rows + 1].
        mask: marked tokens, boolean [n_tokens]; for "pooled" all of them.
        first_sample: samples before each row, int64 [n_rows + 1].
    """

    how: Literal["each", "mean", "pooled"]
    indptr: np.ndarray
    mask: np.ndarray
    first_sample: np.ndarray

    @classmethod
    def of(cls, corpus: Corpus, policy: TokenPolicy | None, special_ids: frozenset[int]) -> Selection:
        """The selection of a policy, or of a pooled site when `policy` is None."""
        mask = np.ones(corpus.n_tokens, dtype=bool) if policy is None else policy.mask(corpus, special_ids)
        marked_before = np.concatenate([[0], np.cumsum(mask)])
        marked = np.diff(marked_before[corpus.tokens.indptr])
        how: Literal["each", "mean", "pooled"] = "pooled" if policy is None else policy.how
        per_row = marked if how == "each" else np.minimum(marked, 1)
        return cls(how, corpus.tokens.indptr, mask, np.concatenate([[0], np.cumsum(per_row)]).astype(np.int64))

    @property
    def n_samples(self) -> int:
        """Samples in all rows."""
        return int(self.first_sample[-1])

    @property
    def n_rows_without(self) -> int:
        """Rows that give no sample."""
        return int((np.diff(self.first_sample) == 0).sum())

    def rows_and_positions(self, corpus: Corpus, first_row: int, end_row: int) -> tuple[np.ndarray, np.ndarray]:
        """Row and position (-1 when it is a mean or pooled) of each sample of a row range, both int32 [n]."""
        per_row = np.diff(self.first_sample[first_row : end_row + 1])
        rows = np.repeat(np.arange(first_row, end_row, dtype=np.int32), per_row)
        if self.how != "each":
            return rows, np.full(len(rows), -1, dtype=np.int32)
        low, high = int(self.indptr[first_row]), int(self.indptr[end_row])
        offsets = np.arange(low, high) - np.repeat(
            self.indptr[first_row:end_row], np.diff(self.indptr[first_row : end_row + 1])
        )
        return rows, offsets[self.mask[low:high]].astype(np.int32)

    def gather(self, values: Tensor, rows: np.ndarray) -> Gathered:
        """The samples of a right-padded batch.

        Args:
            values: what was captured at the site, [batch pos ...], or [batch ...] when pooled.
            rows: the batch's row numbers, int64 [batch].
        """
        if self.how == "pooled":
            return Gathered(values.reshape(len(rows), -1), self.first_sample[rows])
        starts, lengths = self.indptr[rows], self.indptr[rows + 1] - self.indptr[rows]
        at = token_positions(starts, lengths)
        marked = self.mask[at]
        in_batch = np.repeat(np.arange(len(rows)), lengths)[marked]
        offset = (at - np.repeat(starts, lengths))[marked]
        flat = values.reshape(values.shape[0] * values.shape[1], -1)
        picked = torch.from_numpy(in_batch * values.shape[1] + offset).to(values.device)
        if self.how == "mean":
            return self._mean(flat.index_select(0, picked), rows, in_batch)
        rank = np.arange(len(in_batch)) - np.searchsorted(in_batch, in_batch, side="left")
        return Gathered(flat.index_select(0, picked), self.first_sample[rows[in_batch]] + rank)

    def _mean(self, vectors: Float[Tensor, "n d_in"], rows: np.ndarray, in_batch: np.ndarray) -> Gathered:
        counts = np.bincount(in_batch, minlength=len(rows))
        has_any = counts > 0
        lengths = torch.from_numpy(counts[has_any]).to(vectors.device)
        # segment_reduce adds in a fixed order on every device; index_add does not on a GPU
        means = torch.segment_reduce(vectors.float(), "mean", lengths=lengths, axis=0)
        return Gathered(means, self.first_sample[rows[has_any]])
