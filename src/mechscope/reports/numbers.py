"""How numbers are written: grouped thousands, a real minus, fixed digits in a column, significant ones elsewhere."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["NumberForm", "write_interval", "write_number"]

NumberForm = Literal["number", "percent", "integer"]
SMALLEST_PLAIN = 1e-4
LARGEST_PLAIN = 1e7
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def write_number(value: float, form: NumberForm = "number", *, digits: int | None = None) -> str:
    """`value` for people.

    Args:
        value: finite.
        form: "percent" multiplies by 100 and adds the sign; "integer" groups thousands.
        digits: decimals; None gives three significant digits (one decimal for a percentage).
    """
    if form == "integer":
        return _minus(f"{round(value):,}")
    if form == "percent":
        return _minus(f"{value * 100:.{1 if digits is None else digits}f}\N{NO-BREAK SPACE}%")
    if isinstance(value, int) and digits is None:
        return _minus(f"{value:,}")
    if value == 0 and digits is None:
        return "0"
    size = abs(value)
    if size and (size < _smallest(digits) or size >= LARGEST_PLAIN):
        mantissa, exponent = f"{value:.{2 if digits is None else min(digits, 2)}e}".split("e")
        return _minus(mantissa) + "×10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return _minus(f"{value:,.{_decimals(size) if digits is None else digits}f}")


def write_interval(low: float, high: float, form: NumberForm = "number", *, digits: int | None = None) -> str:
    """An interval as `[low, high]`, both ends written alike."""
    return f"[{write_number(low, form, digits=digits)}, {write_number(high, form, digits=digits)}]"


def _smallest(digits: int | None) -> float:
    return SMALLEST_PLAIN if digits is None else 0.5 * 10.0**-digits


def _decimals(size: float) -> int:
    return min(max(2 - math.floor(math.log10(size)), 0), 6)


def _minus(text: str) -> str:
    return text.replace("-", "−")
