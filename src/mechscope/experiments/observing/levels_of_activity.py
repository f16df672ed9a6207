"""Which rows count as highly active: a quantile of the active rows, written as a share or in percent."""

from __future__ import annotations

__all__ = ["as_quantile"]


LOWEST_PERCENTILE = 50


def as_quantile(value: float, name: str) -> float:
    """0.9 and 90 both as 0.9: a share above 0 and below 1, or a percentile from 50 to below 100.

    Raises ValueError for anything else. 5 is refused: whether 0.05 or 0.95 was meant cannot be told, and high rows
    from the 5th percentile on would be nearly all of them.

    >>> as_quantile(90, "high_percentile"), as_quantile(0.9, "high_percentile")
    (0.9, 0.9)
    """
    if 0 < value < 1:
        return value
    if LOWEST_PERCENTILE <= value < 100:
        return value / 100
    near = f" ({value / 100:g}, or {100 - value:g} for the highest {value:g} %)" if 1 < value < 50 else " (0.9)"
    raise ValueError(
        f"{name} {value:g}: write a share above 0 and below 1{near}, or a percentile from {LOWEST_PERCENTILE} to below "
        "100 (90)"
    )
