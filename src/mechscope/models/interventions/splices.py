"""Writing a dictionary's reconstruction into a site, with or without what it leaves unexplained.

For an activation x with features f = encode(x), edited to g:

    without error   decode(g)
    with error      x + decode(g) - decode(f)      what the dictionary misses stays; untouched features change no bit
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, Positions, Scope
from mechscope.models.interventions.fitting import acted_on

__all__ = ["Coder", "splice"]

Features = TypeVar("Features")


class Coder(Protocol[Features]):
    """What can be spliced: `mechscope.dictionaries.Dictionary`, or anything with these two methods."""

    def encode(self, x: Tensor, /) -> Features:
        """The features of activations [n d_in]."""
        ...

    def decode(self, codes: Features, /) -> Tensor:
        """Features back to activations [n d_in]."""
        ...


def splice(
    site: LayerComponent,
    dictionary: Coder[Features],
    *,
    with_error: bool = False,
    edit_features: Callable[[Features], Features] | None = None,
    at: Positions | None = None,
    scope: Scope = "all",
) -> Edit:
    """Write `decode(encode(value))` at the positions edited; only those are encoded.

    Args:
        dictionary: reads what lies behind [batch pos] at the site, its axes flattened (`z`: all heads in a row).
        with_error: keep what the reconstruction misses; alone, without `edit_features`, it changes nothing.
        edit_features: takes what `encode` gave and returns what is decoded, for instance with a feature set to 0:
            `lambda codes: codes.with_values(codes.values * (codes.features != 5))`.

    Gradients pass through the value where the error is kept, and where the dictionary lets them.

    Raises (at the site):
        UsageError: a reconstruction of another shape than what was encoded; and what the dictionary raises.
    """

    def apply(value: Tensor, batch: Batch) -> Tensor:
        # a step of a generation has not the whole rows that positions are counted in; what is too much is dropped later
        where = acted_on(site, value, batch, at if batch.n_before is None else None)
        old = value[where].flatten(1) if value.ndim > where.ndim else value[where][:, None]
        if not len(old) or (with_error and edit_features is None):
            return value
        features = dictionary.encode(old)
        base = _decoded(site, dictionary, features, old) if with_error else None
        edited = features if edit_features is None else edit_features(features)
        new = _decoded(site, dictionary, edited, old)
        if base is not None:
            new = old + (new - base)  # in the wider of the two dtypes, rounded once
        value[where] = new.to(value.dtype).reshape(value[where].shape)
        return value

    return Edit(site, apply, at, scope)


def _decoded(site: LayerComponent, dictionary: Coder[Features], features: Features, old: Tensor) -> Tensor:
    new = dictionary.decode(features)
    if new.shape != old.shape:
        raise UsageError(
            f"a reconstruction of shape {list(new.shape)} at {site}",
            expected=f"{list(old.shape)}, as it was encoded",
            todo="use a dictionary of this site, and features of the same samples",
        )
    return new
