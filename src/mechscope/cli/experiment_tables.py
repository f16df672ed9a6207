"""Tables of experiments for a terminal: estimates with their bounds, and as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mechscope.cli.output import cell_text

__all__ = ["Cells", "compact_table", "fit_columns"]

Cells = list[tuple[Any, ...]]

LAST_TO_GO = {"flag", "label", "role", "holds", "passes", "sign", "verdict"}
WIDEST_CELL, WIDEST_NAME = 44, 17
BORDER = 3
BOUNDED = " [95 %]"


def compact_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Cells]:
    """A table for a terminal: an estimate and its bounds in one column; what the bounds and the corrected p say again
    (standard error, raw p) and the estimates for the whole corpus stand in the result's file only."""
    from mechscope.experiments.tables import estimate_columns  # noqa: PLC0415  (help stays light)

    joined = estimate_columns(columns)
    dropped = {f"{prefix}{end}" for prefix in joined.values() for end in ("low", "high")} | {"std_error"}
    dropped |= {"p"} if "p_corrected" in columns else set()
    kept = [name for name in columns if name not in dropped and not name.startswith("corpus_")]
    shown = [
        tuple(
            _estimate(row.get(name), row.get(f"{joined[name]}low"), row.get(f"{joined[name]}high"))
            if name in joined
            else row.get(name)
            for name in kept
        )
        for row in rows
    ]
    return [name + BOUNDED if name in joined else name for name in kept], shown


def fit_columns(columns: Sequence[str], rows: Cells, width: int) -> tuple[list[str], Cells, list[str]]:
    """The columns that fit into `width` characters, their cells, and the names of those that do not.

    Columns go from the end; the first two stay. What others can be read without goes first, then further estimates, n,
    the first estimate, the corrected p, and last flags and verdicts.
    """
    widths = [_width(name, [row[at] for row in rows]) for at, name in enumerate(columns)]
    kept = list(range(len(columns)))
    first = next((name for name in columns if name.endswith(BOUNDED)), None)
    ranks: dict[str | None, int] = {**dict.fromkeys(LAST_TO_GO, 5), "p_corrected": 4, first: 3, "n": 2}
    order = sorted(kept[2:], key=lambda at: (ranks.get(columns[at], int(columns[at].endswith(BOUNDED))), -at))
    for at in order:
        if sum(widths[index] + BORDER for index in kept) < width:
            break
        kept.remove(at)
    left = [name for at, name in enumerate(columns) if at not in kept]
    return [columns[at] for at in kept], [tuple(row[at] for at in kept) for row in rows], left


def _width(name: str, values: Sequence[Any]) -> int:
    longest = max((len(cell_text(value)) for value in values), default=0)
    return max(min(len(name), WIDEST_NAME), min(longest, WIDEST_CELL))


def _estimate(value: Any, low: Any, high: Any) -> str | None:
    if value is None:
        return None
    return f"{value:.3g}" if low is None or high is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"
