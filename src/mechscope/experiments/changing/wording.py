"""The words of a claim about a cell: its size and interval, in what, and its corrected p; then weighted to the corpus.

Base contexts are drawn evenly over the regions of the feature's activity, where an effect may be several times what it
is in the corpus: the plain size is never said without saying so, nor without the weighted one where that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["EVENLY", "said_of_cell", "said_size"]

EVENLY = "base contexts drawn evenly over its activity"


def said_of_cell(
    cell: Mapping[str, Any], *, sign: float = 0, of: str = EVENLY, value: str = "mean_delta", prefix: str = ""
) -> str:
    """Value, interval, n and corrected p of a row of a table; and the corpus-weighted value where the row has one.

    Args:
        cell: with `value`, low, high, n, p_corrected, and, if measured, corpus_delta, corpus_low, corpus_high.
        sign: the direction that the claim's verb has, 1 (raises) or -1 (lowers): numbers are sizes in that direction.
            0: numbers keep their sign and show it.
        of: what the n are. value: the column of the value.
        prefix: of the columns of the cell; those of the corpus have none.

    >>> row = {"mean_delta": -0.2231, "low": -0.25, "high": -0.19, "n": 314, "p_corrected": 0.0002}
    >>> said_of_cell(row, sign=-1)
    'by 0.223 [0.19, 0.25] in 314 base contexts drawn evenly over its activity (p 0.0002 corrected)'
    >>> said_of_cell(row | {"corpus_delta": -0.04, "corpus_low": -0.06, "corpus_high": -0.02}, of="rows")
    'by -0.223 [-0.25, -0.19] in 314 rows (p 0.0002 corrected), by -0.04 [-0.06, -0.02] weighted to the corpus'
    """
    at = {name: cell.get(prefix + name) for name in (value, "low", "high", "n", "p_corrected")}
    text = f"by {said_size(at[value], at['low'], at['high'], sign=sign)} in {int(at['n'] or 0):,} {of}"
    if _is_known(at["p_corrected"]):
        text += f" (p {at['p_corrected']:.2g} corrected)"
    if _is_known(cell.get("corpus_delta")):
        weighted = said_size(cell["corpus_delta"], cell.get("corpus_low"), cell.get("corpus_high"), sign=sign)
        text += f", by {weighted} weighted to the corpus"
    return text


def said_size(value: float | None, low: float | None, high: float | None, *, sign: float = 0) -> str:
    """A value and its interval, in the direction `sign`; without the interval where there is none.

    >>> said_size(-0.5, -0.75, 0.25, sign=-1), said_size(0.5, None, None)
    ('0.5 [-0.25, 0.75]', '+0.5')
    """
    if not _is_known(value) or value is None:
        return "an unmeasured size"
    form = "+.3g" if sign == 0 else ".3g"
    turn = -1.0 if sign < 0 else 1.0
    text = f"{turn * value:{form}}"
    if low is None or high is None or not (_is_known(low) and _is_known(high)):
        return text
    ends = (low, high) if turn > 0 else (-high, -low)
    return f"{text} [{ends[0]:{form}}, {ends[1]:{form}}]"


def _is_known(number: Any) -> bool:
    return number is not None and math.isfinite(number)
