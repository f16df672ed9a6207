"""Which rows count as highly active: a quantile of the active rows, written as a share or in percent."""

from __future__ import annotations

__all__ = ["as_quantile"]


def as_quantile(value: float, name: str) -> float:
    """0.9 and 90 both as 0.9. Raises ValueError for 0 and below, 100 and above, and 1, which could mean either.

    >>> as_quantile(90, "high_percentile"), as_quantile(0.9, "high_percentile")
    (0.9, 0.9)
    """
    if 0 < value < 1:
        return value
    if 1 < value < 100:
        return value / 100
    raise ValueError(f"{name} {value:g}: write a share above 0 and below 1 (0.9), or a percentile up to 100 (90)")
