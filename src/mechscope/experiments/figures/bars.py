"""Bars of groups with their intervals, from the tables of a frozen result."""

from __future__ import annotations

from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.types import CAUSAL
from mechscope.reports import Estimate, Figure
from mechscope.reports.figures import NamedValue, named_bars

__all__ = ["group_bars"]


def group_bars(result: ExperimentResult, column: str) -> Figure:
    """The table `<column>_stats`, the largest difference first: against the mean of all rows, or of all groups."""
    is_set = result.evidence == CAUSAL
    value = "mean_delta" if is_set else "delta_from_global"
    rows = result.tables[f"{column}_stats"].rows
    known = sorted((row for row in rows if _number(row[value]) is not None), key=lambda row: -_required(row[value]))
    bars = [
        NamedValue(
            name=str(row[column]) or "(none)",
            estimate=Estimate(
                value=_required(row[value]),
                low=_number(row["low"]),
                high=_number(row["high"]),
                n=int(_required(row["n"])),
            ),
        )
        for row in known
    ]
    against = "each base context's mean over all of them" if is_set else "the mean of all rows, zeros included"
    n_unbounded = sum(row["low"] is None for row in known)
    few = f"; {n_unbounded} of {len(known)} have no interval (n < 5: not interpreted)" if n_unbounded else ""
    word = "set in the same base contexts" if is_set else "of the rows (associated)"
    return named_bars(
        bars,
        title=f"Activation by {column}",
        caption=f"Feature {result.feature_id}: mean activation by {column} {word}, against {against}; "
        f"95 % intervals{few}.",
        value_title="difference of activation",
        reference=0.0,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _required(value: object) -> float:
    number = _number(value)
    assert number is not None
    return number
