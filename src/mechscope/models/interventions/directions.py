"""Edits along directions: add, steer, take a subspace out, keep only a subspace.

With an orthonormal basis Q [rank d] of the directions and a point c (0 by default), a value x becomes

    project_out   x - (x - c) Q^T Q          what lies in the subspace is put to c's part in it
    keep_only     c + (x - c) Q^T Q          what lies outside of it is put to c's part outside

computed in float32 (float64 values in float64) and rounded to the value's dtype once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, Positions, Scope
from mechscope.models.interventions.fitting import finite, like, require_shape, shape_behind, spread_over

__all__ = ["Subspace", "add", "keep_only", "project_out", "steer", "subspace"]


def add(site: LayerComponent, change: Tensor | float, *, at: Positions | None = None, scope: Scope = "all") -> Edit:
    """Add a number, or a tensor that broadcasts to the site's value [batch pos ...].

    Raises UsageError: NaN or infinity now; at the site, a shape that does not broadcast.
    """
    tensor = finite("a change", torch.as_tensor(change))
    return Edit(site, lambda value, batch: value + spread_over(site, "a change", tensor, value), at, scope)


def steer(
    site: LayerComponent,
    direction: Float[Tensor, "*shape"],
    *,
    coefficient: float,
    normalise: bool = False,
    at: Positions | None = None,
    scope: Scope = "all",
) -> Edit:
    """Add `coefficient * direction` at every position.

    Args:
        direction: of the shape behind [batch pos] at the site: [d_model]; [n_heads d_head] at `z`; [d_head] at
            `z:3.h2`. On the model's device it is not copied at each step of a generation.
        coefficient: in units of the direction's length; with `normalise`, in units of the site's own values.
        normalise: divide the direction by its norm (over all its axes).

    Raises UsageError: a direction that is not finite, or without length to normalise; at the site, another shape.
    """
    if normalise and not bool(direction.norm() > 0):
        raise UsageError("a direction of length 0 to be normalised", expected="a length", todo="drop normalise")
    step = finite("a steering vector", coefficient * (direction / direction.norm() if normalise else direction))

    def apply(value: Tensor, batch: Batch) -> Tensor:
        require_shape(site, "a direction", tuple(step.shape), shape_behind(site, value))
        return value + like(step, value)

    return Edit(site, apply, at, scope)


@dataclass(frozen=True, eq=False)
class Subspace:
    """What directions span.

    Args:
        basis: float64 [rank d], orthonormal rows; d counts all entries of a direction.
        shape: the shape of one direction.
        n_directions: how many were given; more than `rank` when some follow from others.
    """

    basis: Float64[Tensor, "rank d"]
    shape: tuple[int, ...]
    n_directions: int

    @property
    def rank(self) -> int:
        """Dimensions of the subspace."""
        return len(self.basis)


def subspace(directions: Float[Tensor, "n *shape"]) -> Subspace:
    """The subspace that directions span, by singular values.

    Directions whose singular value is below max(n, d) * eps times the greatest (eps of float32, or of float64 for
    float64 directions: what rounding leaves of an exact dependence) count as spanned by the others; `rank` says how
    many are left. No directions, [0 *shape], span the rank 0. Cost: one SVD of [n d] in float64.

    Raises UsageError: directions that are not finite, all zero, or without an axis to be a direction.
    """
    if directions.ndim < 2:
        raise UsageError(
            f"directions of shape {list(directions.shape)}", expected="[n d_model]", todo="pass one direction a row"
        )
    rows = finite("directions", directions).flatten(1).double()
    if not len(rows):
        return Subspace(rows, tuple(directions.shape[1:]), 0)
    _, values, basis = torch.linalg.svd(rows, full_matrices=False)
    eps = torch.finfo(torch.float64 if directions.dtype == torch.float64 else torch.float32).eps
    rank = int((values > values[0] * max(rows.shape) * eps).sum())
    if not rank:
        raise UsageError("directions that are all zero", expected="a direction", todo="look at where they come from")
    return Subspace(basis[:rank], tuple(directions.shape[1:]), len(directions))


def project_out(
    site: LayerComponent,
    directions: Float[Tensor, "n *shape"] | Subspace,
    *,
    around: Tensor | None = None,
    at: Positions | None = None,
    scope: Scope = "all",
) -> Edit:
    """Take the directions' subspace out of the value.

    Args:
        directions: [n d_model], or in the site's own axes behind n; need not be orthogonal or of length 1. When some
            follow from others a warning says the rank; pass a `subspace(...)`, which tells its rank, to be without.
        around: a point of the site's shape whose part in the subspace is put there (a mean: a mean ablation of the
            subspace); 0 by default.

    Raises UsageError as `subspace` does; at the site, for directions or a point of another shape.
    """
    return Edit(site, _projection(site, directions, around, keeps=False), at, scope)


def keep_only(
    site: LayerComponent,
    directions: Float[Tensor, "n *shape"] | Subspace,
    *,
    around: Tensor | None = None,
    at: Positions | None = None,
    scope: Scope = "all",
) -> Edit:
    """Keep what lies in the directions' subspace and put the rest to `around` (0 by default); see `project_out`.

    A subspace of full rank keeps the value as it is, bit for bit.
    """
    return Edit(site, _projection(site, directions, around, keeps=True), at, scope)


def _projection(
    site: LayerComponent, directions: Tensor | Subspace, around: Tensor | None, *, keeps: bool
) -> Callable[[Tensor, Batch], Tensor]:
    space = directions if isinstance(directions, Subspace) else _said(subspace(directions))
    is_whole = space.rank == (math.prod(space.shape) if keeps else 0)
    if around is not None:
        require_shape(site, "a point", tuple(around.shape), space.shape)
        finite("a point", around)

    def apply(value: Tensor, batch: Batch) -> Tensor:
        require_shape(site, "directions", space.shape, shape_behind(site, value))
        if is_whole:
            return value  # bit for bit, where rounding would move it
        work = torch.promote_types(value.dtype, torch.float32)
        basis = space.basis.to(value.device, work)
        rows = value.to(work).reshape(-1, basis.shape[1])
        centre = rows.new_zeros(()) if around is None else around.to(rows).reshape(-1)
        inside = (rows - centre) @ basis.mT @ basis
        return (centre + inside if keeps else rows - inside).reshape(value.shape).to(value.dtype)

    return apply


def _said(space: Subspace) -> Subspace:
    if space.rank < space.n_directions:
        warnings.warn(
            f"{space.n_directions} directions of rank {space.rank}: some follow from the others", stacklevel=4
        )
    return space
