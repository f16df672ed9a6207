"""The mean of a site over batches, to be written in its place; and its spread, to measure noise by.

Batches are merged as they come (Chan, Golub and LeVeque 1983): with n values of mean m and sum of squared deviations S,
a batch of n', m', S' gives, for d = m' - m and N = n + n',

    m <- m + d n'/N        S <- S + S' + d^2 n n'/N        std = sqrt(S/N)

all in float64, entry by entry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.interventions.fitting import acted_on, is_pattern
from mechscope.models.model import Model

__all__ = ["SiteMean", "mean_value"]


@dataclass(frozen=True, eq=False)
class SiteMean:
    """What a site holds on average.

    Args:
        site: whose mean it is.
        value: float64 [*shape], or [place *shape] when each place has its own.
        std: its standard deviation over the same tokens (divided by n), entry by entry.
        n: over how many tokens (rows for a site without positions) it runs: [], or [place], falling.
    """

    site: LayerComponent
    value: Float64[Tensor, "..."]
    std: Float64[Tensor, "..."]
    n: Int64[Tensor, "..."]


@torch.no_grad()
def mean_value(model: Model, batches: Iterable[Batch], site: LayerComponent, *, per_position: bool = False) -> SiteMean:
    """The mean of a site over the real tokens of some batches, padding left out.

    Args:
        batches: one forward each, up to the site.
        per_position: a mean for each place among the real tokens, counted from the left, instead of one for all.

    Raises:
        UsageError: no batch, a pattern (its rows are as long as the text), or places at a site without positions.
    """
    if is_pattern(site):
        raise UsageError(f"the mean of {site}", expected="a site with one value a position", todo="use `set_value`")
    moments: _Moments | None = None
    for batch in batches:
        value = model.capture(batch, [site]).values[site].double()
        side = batch.along(site)
        kept = acted_on(site, value, side, None)
        if per_position and kept.shape != side.attention_mask.shape:
            raise UsageError(
                f"a mean for each place of {site}, whose value is {list(value.shape)}",
                expected="a site with positions",
                todo="drop per_position",
            )
        places = side.position_ids.to(value.device)[kept] if per_position else kept[kept].long() - 1
        found = _Moments.of(value[kept], places)
        moments = found if moments is None else moments.merged(found)
    if moments is None:
        raise UsageError("the mean over no batch", expected="at least one batch", todo="pass a list of batches")
    n, average, std = moments.n, moments.mean, (moments.squares / _behind(moments.n, moments.squares)).sqrt()
    return SiteMean(site, average, std, n) if per_position else SiteMean(site, average[0], std[0], n[0])


@dataclass(frozen=True)
class _Moments:
    """Number, mean and sum of squared deviations for each place: [place], [place *shape], [place *shape]."""

    n: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor, places: Tensor) -> _Moments:
        n = torch.bincount(places)
        blank = values.new_zeros(len(n), *values.shape[1:])
        mean = blank.index_add(0, places, values) / _behind(n, blank)
        return cls(n, mean, blank.index_add(0, places, (values - mean[places]).square()))

    def merged(self, other: _Moments) -> _Moments:
        if len(self.n) < len(other.n):
            return other.merged(self)
        other = other.padded(len(self.n))
        n = self.n + other.n
        change = other.mean - self.mean
        share = _behind(other.n, change) / _behind(n, change)
        squares = self.squares + other.squares + change.square() * share * _behind(self.n, change)
        return _Moments(n, self.mean + change * share, squares)

    def padded(self, n_places: int) -> _Moments:
        n_more = n_places - len(self.n)
        return _Moments(*(torch.cat([part, part.new_zeros(n_more, *part.shape[1:])]) for part in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.n, self.mean, self.squares


def _behind(counts: Tensor, like: Tensor) -> Tensor:
    """Counts [place] as float64, with the axes of `like` behind them; whole numbers would divide in float32."""
    return counts.double().reshape(-1, *[1] * (like.ndim - 1))
