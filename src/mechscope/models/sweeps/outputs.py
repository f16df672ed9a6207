"""What comes out of a sweep, as it comes in: logits, or what a metric makes of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from mechscope.core import UsageError

__all__ = ["Metric", "Outputs", "metric_of"]

Metric: TypeAlias = Callable[[Tensor], Tensor]  # logits [batch d_vocab] to one number a row, [batch]


class Outputs:
    """Logits or metrics as they come in, and the logits of variants that will be checked."""

    def __init__(self, n_variants: int, clean: Tensor | None, metric: Metric | None, drawn: Collection[int]) -> None:
        self.n_variants = n_variants
        self.metric = metric
        self.drawn = drawn
        self.checked: dict[int, Tensor] = {}
        self.logits: Tensor | None = None
        self.metrics = None if clean is None or metric is None else clean.new_empty(n_variants, len(clean))

    def keep(self, indices: Sequence[int], found: Float[Tensor, "n_variants batch d_vocab"]) -> None:
        """Keep what a portion gave; logits of all variants at once are kept as they are."""
        self.checked |= {
            index: logits.clone() for index, logits in zip(indices, found, strict=True) if index in self.drawn
        }
        if self.metric is not None and self.metrics is not None:
            for index, logits in zip(indices, found, strict=True):
                self.metrics[index] = metric_of(self.metric, logits)
        elif len(indices) == self.n_variants:
            self.logits = found
        else:
            self.logits = found.new_empty(self.n_variants, *found.shape[1:]) if self.logits is None else self.logits
            self.logits[list(indices)] = found


def metric_of(metric: Metric, logits: Float[Tensor, "batch d_vocab"]) -> Float[Tensor, "batch"]:
    """A metric of the logits, its shape checked. Raises UsageError."""
    found = metric(logits)
    if not isinstance(found, Tensor) or found.shape != logits.shape[:1]:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(
            f"a metric that gives {shape} for logits {list(logits.shape)}",
            expected=f"one number a row: [{len(logits)}]",
            todo="reduce the vocabulary axis and keep the batch axis",
        )
    return found
