"""Two sets of rows of the slice held against each other, written into the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mechscope.core import UsageError, derive_seed
from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.confounders import confounders_of
from mechscope.experiments.observing.contrasting import (
    CONTRAST_COLUMNS,
    HALF_COLUMNS,
    contrast_rows,
    halves_of,
    side_rows,
)
from mechscope.experiments.observing.levels import rows_holding_constant
from mechscope.experiments.observing.row_sets import RowSets
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.specs import ExperimentSpec
from mechscope.stats.samples import as_clusters

__all__ = ["ObservedContrast", "excludes_zero", "observe_contrast"]

SIDE_COLUMNS = ("side", "rows", "n", "mean", "std", "share_active")


class ObservedContrast(NamedTuple):
    """The crude row of the table, the adjusted one (None without), and whether both halves say the same."""

    crude: dict[str, Any]
    adjusted: dict[str, Any] | None
    holds: bool


def observe_contrast(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    sets: RowSets,
    held: Held,
    *,
    table: str,
    should_sample: bool,
    confounders: Sequence[str] | None,
    seed: int,
) -> ObservedContrast:
    """Write `table`, `sides` and `halves`, and the aggregates whose names begin with "observed".

    Args:
        spec, context, findings: the experiment at work.
        sets: of all rows of the corpus. held: what rows must have.
        table: name of the table of estimates.
        should_sample: whether this is the result itself (then the slice's sample is drawn), or stands beside one.
        confounders: named ones, or None for the domain's own. seed: of every draw.

    Raises:
        UsageError: fewer than 5 rows on a side, or an empty slice. NotFoundError: an unknown confounder.
    """
    found = rows_holding_constant(slice_rows(spec, context, findings, should_sample=should_sample), context, held)
    in_sets = (sets.is_first | sets.is_second)[found.rows]
    findings.drop(f"rows with another {sets.column.name}", int((~in_sets).sum()))
    found = found.only(in_sets)
    is_first = sets.is_first[found.rows]
    n_first, n_second = int(is_first.sum()), int((~is_first).sum())
    if min(n_first, n_second) < FEW:
        raise UsageError(
            f"{n_first} rows with {sets.words[0]} and {n_second} with {sets.words[1]}",
            expected=f"at least {FEW} of each",
            todo="widen the slice, or choose other names",
        )
    base = sets.column.decided_by
    names = context.clusters_of(found.rows)
    if base is not None and base != sets.column.name:
        names = context.group_codes(base)[1][found.rows]
        findings.note(f"units: {base}, which decides {sets.column.name}")
    units = as_clusters(names, len(found))
    leave_out = (sets.column.name, *held.change.rungs, *held.change.binaries)
    if base is not None:
        leave_out = (*leave_out, base, *context.domain.attributes)
    known = confounders_of(context, leave_out=leave_out, names=confounders)
    rows = contrast_rows(found.values, is_first, units, known, found.rows, findings, derive_seed(seed, "rows"))
    findings.table(
        table, CONTRAST_COLUMNS, rows,
        caption=f"OBSERVATIONAL: {sets.words[0]} against {sets.words[1]}, zeros included; 95 % intervals; strata "
        f"and regression: {known.words}.",
    )  # fmt: skip
    findings.table("sides", SIDE_COLUMNS, side_rows(found.values, is_first, sets.words), caption="OBSERVATIONAL.")
    halves, holds = halves_of(found.values, is_first, units, seed=derive_seed(seed, "halves"))
    findings.table("halves", HALF_COLUMNS, halves, caption="OBSERVATIONAL: crude, in two halves of the units.")
    by_name = {row["estimate"]: row for row in rows}
    crude, adjusted = by_name["mean difference, crude"], by_name.get("mean difference, adjusted")
    if adjusted is not None and not np.isfinite(adjusted["value"]):
        adjusted = None
    if adjusted is not None and excludes_zero(crude) and not excludes_zero(adjusted):
        findings.find(
            f"at equal {known.words} nothing is left of the difference of {crude['value']:+.3g} between "
            f"{sets.words[0]} and {sets.words[1]} ({adjusted['value']:+.3g} "
            f"[{adjusted['low']:+.3g}, {adjusted['high']:+.3g}])"
        )
    if should_sample:
        findings.n_contexts_tested, findings.n_comparisons = len(found), 1
    aggregates = {key: crude[key] for key in ("low", "high", "p")}
    findings.add(**{f"observed_{key}": value for key, value in aggregates.items()}, observed=crude["value"],
                 auroc=by_name["AUROC"]["value"], holds_in_halves=holds,
                 observed_adjusted=None if adjusted is None else adjusted["value"])  # fmt: skip
    return ObservedContrast(crude, adjusted, holds)


def excludes_zero(row: Mapping[str, Any]) -> bool:
    """Whether the interval of a row lies on one side of 0."""
    return bool(row["low"] > 0 or row["high"] < 0)
