"""Whether what a rung does lasts above it, in words, and whether rungs act in both directions.

"from rung R on" is said where every higher rung of more than 20 independent contexts has an interval wholly on the side
of the claim, no higher rung of 5 to 20 has one wholly on the other side, and at least one of them all bears it out.
Higher rungs that are of few contexts, and do not bear it out, are then named as not told. Else the rungs that hold by
themselves are listed: "at rung R".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["lasts", "listed", "said_rungs", "signed_rungs"]

ALPHA = 0.05


def lasts(above: Sequence[Mapping[str, Any]], *, sign: float) -> bool:
    """Whether the cells `above` a rung (low, high, flag) bear out that what it does, in direction `sign`, lasts."""
    known = [row for row in above if _is_known(row)]
    enough = all(_side(row) == sign for row in known if not row["flag"])
    return enough and any(_side(row) == sign for row in known) and not any(_side(row) == -sign for row in known)


def said_rungs(rungs: Sequence[int], rows: Sequence[Mapping[str, Any]], held: Sequence[int], *, sign: float) -> str:
    """ "from rung R on" or "at rung R", or "at rungs R to S", of a claim in direction `sign`.

    Args:
        rungs: ascending. rows: the cell of each. held: indices of the rungs that hold in this direction, ascending.
    """
    first = held[0]
    above = range(first + 1, len(rungs))
    if not lasts([rows[at] for at in above], sign=sign):
        return f"at rung{'s' if len(held) > 1 else ''} {listed(rungs, held)}"
    few = [at for at in above if rows[at]["n"] and not (_is_known(rows[at]) and _side(rows[at]) == sign)]
    return f"from rung {rungs[first]} on" + (f" (too few contexts to tell at {listed(rungs, few)})" if few else "")


def listed(rungs: Sequence[int], which: Sequence[int]) -> str:
    """The rungs at the indices `which`, neighbours drawn together.

    >>> listed((3, 6, 9, 12, 15), (0, 1, 2, 4))
    '3 to 9, 15'
    """
    runs: list[list[int]] = []
    for at in which:
        if runs and runs[-1][-1] == at - 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    return ", ".join(
        str(rungs[run[0]]) if len(run) == 1 else f"{rungs[run[0]]}{' to ' if len(run) > 2 else ', '}{rungs[run[-1]]}"
        for run in runs
    )


def signed_rungs(rows: Sequence[Mapping[str, Any]], *, sign: float) -> list[int]:
    """Indices of the cells with a corrected p below 0.05 on the side `sign`, whatever their size."""
    p = np.array([np.nan if row["p_corrected"] is None else row["p_corrected"] for row in rows], float)
    delta = np.array([np.nan if row["mean_delta"] is None else row["mean_delta"] for row in rows], float)
    found: list[int] = np.flatnonzero((p < ALPHA) & (delta * sign > 0)).tolist()
    return found


def _is_known(row: Mapping[str, Any]) -> bool:
    return row["low"] is not None and bool(np.isfinite(row["low"]))


def _side(row: Mapping[str, Any]) -> int:
    return int(row["low"] > 0) - int(row["high"] < 0)
