"""Centre and scale of the inputs, estimated once before training and folded into the weights after it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import BadDataError
from mechscope.training.sources import SampleSource
from mechscope.training.specs import TrainSpec

__all__ = ["Scaling", "estimate_scaling", "require_finite"]


@dataclass(frozen=True)
class Scaling:
    """Mean of the raw samples, float32 [d_in], and the factor that brings their total variance to 1."""

    mean: Float[Tensor, "d_in"]
    scale: float


def estimate_scaling(source: SampleSource, spec: TrainSpec) -> Scaling:
    """Mean and scale from the first `center_samples` samples of epoch 0, summed in float64.

    Raises BadDataError on NaN or infinity, and when all samples are equal.
    """
    n, total, squares = 0, torch.zeros(source.d_in, dtype=torch.float64), 0.0
    origin: Tensor | None = None  # sums are taken around the first sample, against cancellation
    n_batches = -(-spec.center_samples // spec.batch_size)
    batches = source.batches(spec.batch_size, seed=spec.seed, epoch=0)
    for index, batch in enumerate(islice(batches, n_batches)):
        require_finite(batch, where=f"batch {index} of epoch 0")
        values = batch.double()
        origin = values[0].clone() if origin is None else origin
        values = values - origin
        n, total, squares = n + len(values), total + values.sum(0), squares + float(values.square().sum())
    if n == 0 or origin is None:
        raise BadDataError("the source gave no batch", expected="at least one sample", todo="check the activations")
    offset = total / n
    variance = squares / n - float(offset.square().sum())
    if not variance > 1e-12 * max(1.0, float(origin.square().sum())):
        raise BadDataError(
            f"the first {n} samples have total variance {variance:.3g}",
            expected="samples that differ",
            todo="check the site and the corpus: the model gives the same activation everywhere",
        )
    return Scaling((origin + offset).float(), variance**-0.5)


def require_finite(batch: Float[Tensor, "batch d_in"], *, where: str) -> None:
    """Raise BadDataError naming the first row of `batch` that holds NaN or infinity."""
    is_finite = torch.isfinite(batch).all(dim=1)
    if not bool(is_finite.all()):
        row = int((~is_finite).nonzero()[0])
        raise BadDataError(
            f"row {row} of {where} holds NaN or infinity",
            expected="finite activations",
            todo="collect the activations again, and look at the model's dtype and inputs",
        )
