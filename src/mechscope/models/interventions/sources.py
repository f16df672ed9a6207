"""Values that were read on one batch, to be written in another run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch

__all__ = ["Source", "require_whole_rows"]


@dataclass(frozen=True, eq=False)
class Source:
    """What was read at a site, and on which batch (of an encoder-decoder's decoder: `batch.decoder`).

    Args:
        values: [batch pos ...], from `model.capture(batch, [site]).values[site]`.
        batch: says where the real tokens are.

    Raises UsageError when the two have not equally many rows.

    Example: Source(model.capture(batch, [site]).values[site], batch)
    """

    values: Tensor
    batch: Batch

    def __post_init__(self) -> None:
        if not self.values.ndim or len(self.values) != self.batch.n_rows:
            raise UsageError(
                f"values {list(self.values.shape)} read on a batch of {self.batch.n_rows} rows",
                expected="the values of that batch",
                todo="pair each capture with the batch it was made on",
            )


def require_whole_rows(site: LayerComponent, batch: Batch) -> None:
    """Raise UsageError in a step behind the prompt of a generation: a source has no values for its tokens."""
    if batch.n_before is not None:
        raise UsageError(
            f"values of a source for generated tokens at {site}", expected="scope 'prompt'", todo="drop the scope"
        )
