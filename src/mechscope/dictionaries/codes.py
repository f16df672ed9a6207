"""Codes: the few non-zero activations of each sample, in compressed rows. No dense [n, n_features] anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from mechscope.core import UsageError

__all__ = ["Codes"]


@dataclass(frozen=True, eq=False)
class Codes:
    """Sparse activations of `n` samples: sample i holds the entries `indptr[i]:indptr[i + 1]`.

    Attributes:
        indptr: int64 [n + 1], rising from 0 to nnz.
        features: int32 [nnz], rising inside each sample.
        values: float32 [nnz], all above 0.
        n_features: width of the dictionary that made them.
    """

    indptr: Int64[Tensor, "n_plus_one"]
    features: Int32[Tensor, "nnz"]
    values: Float[Tensor, "nnz"]
    n_features: int

    def __len__(self) -> int:
        return self.indptr.shape[0] - 1

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return self.features.shape[0]

    def rows(self) -> Int64[Tensor, "nnz"]:
        """Sample index of each entry. Allocates nnz integers."""
        samples = torch.arange(len(self), device=self.indptr.device)
        return torch.repeat_interleave(samples, self.indptr.diff(), output_size=self.nnz)

    def slice(self, start: int, stop: int) -> Codes:
        """The samples `start:stop`; views, no copy but of `indptr`."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - first
        return Codes(indptr, self.features[first:last], self.values[first:last], self.n_features)

    def with_values(self, values: Float[Tensor, "nnz"]) -> Codes:
        """The same entries with other values."""
        return Codes(self.indptr, self.features, values, self.n_features)

    def to_dense(self) -> Float[Tensor, "n n_features"]:
        """A dense copy: for tests and small inputs only, it takes 4 * n * n_features bytes."""
        dense = self.values.new_zeros(len(self), self.n_features)
        dense[self.rows(), self.features.long()] = self.values
        return dense

    @classmethod
    def from_dense(cls, dense: Float[Tensor, "n n_features"]) -> Codes:
        """The entries of `dense` that are above 0."""
        rows, features = torch.nonzero(dense > 0, as_tuple=True)
        counts = torch.bincount(rows, minlength=dense.shape[0])
        return cls(offsets(counts), features.int(), dense[rows, features], dense.shape[1])

    @classmethod
    def concatenate(cls, parts: Sequence[Codes]) -> Codes:
        """The samples of all parts, in order. Raises UsageError when there is none or the widths differ."""
        widths = {part.n_features for part in parts}
        if len(widths) != 1:
            raise UsageError(
                f"codes of widths {sorted(widths)}", expected="parts made by one dictionary", todo="do not mix them"
            )
        counts = torch.cat([part.indptr.diff() for part in parts])
        features = torch.cat([part.features for part in parts])
        return cls(offsets(counts), features, torch.cat([part.values for part in parts]), widths.pop())


def offsets(counts: Int64[Tensor, "n"]) -> Int64[Tensor, "n_plus_one"]:
    """Row offsets from row lengths: a zero and the running sum."""
    indptr = counts.new_zeros(counts.shape[0] + 1)
    torch.cumsum(counts, 0, out=indptr[1:])
    return indptr
