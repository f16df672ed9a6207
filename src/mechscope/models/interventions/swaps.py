"""Interchanges: row i takes from row i of a source, position by position.

The n-th position asked for in the target row gets the value of the n-th position asked for in the source row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, Positions, Scope
from mechscope.models.interventions.fitting import acted_on, is_pattern, like, require_shape, shape_behind
from mechscope.models.interventions.sources import Source, require_whole_rows

__all__ = ["swap"]


def swap(
    site: LayerComponent,
    source: Source | Sequence[int],
    *,
    at: Positions | None = None,
    source_at: Positions | None = None,
    scope: Scope = "prompt",
) -> Edit:
    """Write what other rows hold at the site (an interchange).

    Args:
        source: values read in another run, row by row as the batch; or, for each row of the batch, the row of the same
            batch to take from (`[1, 0]` interchanges two rows), as it is before this edit.
        at: the target positions; None for all real tokens.
        source_at: the positions in the source's rows, `at` by default; as many in each row as in the target's, which
            they meet in order. So `from_right(0)` joins last tokens of rows of unequal length.
        scope: "prompt" by default, since a source has no values for what is generated; rows of the same batch may be
            interchanged there too.

    Raises (at the site):
        UsageError: another number of rows, another shape, or rows with unequally many positions. A pattern is written
            only from rows of the same length and padding.
    """
    if is_pattern(site) and source_at is not None:
        raise UsageError(
            f"source positions at {site}", expected="a site with one value a position", todo="drop source_at"
        )

    def apply(value: Tensor, batch: Batch) -> Tensor:
        if isinstance(source, Source) or source_at is not None:
            require_whole_rows(site, batch)
        here = source if isinstance(source, Source) else Source(value, batch)
        rows = list(range(len(value))) if isinstance(source, Source) else list(source)
        _require_rows(site, here, rows, len(value))
        require_shape(site, "source values", shape_behind(site, here.values), shape_behind(site, value))
        new = like(here.values, value)[rows]
        if is_pattern(site):
            _require_same_padding(site, here.batch.attention_mask[rows], batch.attention_mask)
            return new
        if batch.n_before is not None:
            return new  # rows meet token by token, and the positions asked for are looked up outside
        target = acted_on(site, value, batch, at)
        origin = acted_on(site, here.values, here.batch, at if source_at is None else source_at)[rows]
        _require_paired(site, target, origin)
        value[target] = new[origin.to(new.device)]
        return value

    return Edit(site, apply, at, scope)


def _require_rows(site: LayerComponent, source: Source, rows: list[int], n_rows: int) -> None:
    if len(rows) != n_rows or len(source.values) != n_rows or not all(0 <= row < n_rows for row in rows):
        seen = f"{len(source.values)} rows of source values" if len(source.values) != n_rows else f"source rows {rows}"
        raise UsageError(
            f"{seen} at {site} for a batch of {n_rows} rows",
            expected=f"one source row for each row, in 0..{n_rows - 1}",
            todo="read the source on as many rows, in the order in which they are to be paired",
        )


def _require_same_padding(site: LayerComponent, source: Tensor, target: Tensor) -> None:
    if source.shape != target.shape or not torch.equal(source.to(target.device), target):
        raise UsageError(
            f"a pattern for {site} from rows of other lengths or padding",
            expected="rows whose queries and keys stand in the same columns",
            todo="batch rows of one length together",
        )


def _require_paired(site: LayerComponent, target: Tensor, origin: Tensor) -> None:
    if target.ndim == 1:
        return
    n_target, n_origin = target.sum(dim=1), origin.sum(dim=1).to(target.device)
    if bool((n_target == n_origin).all()):
        return
    row = int((n_target != n_origin).nonzero()[0])
    raise UsageError(
        f"row {row} at {site}: {int(n_target[row])} positions to write and {int(n_origin[row])} to take them from",
        expected="as many of one as of the other, in every row",
        todo="name the positions with at= and source_at=",
    )
