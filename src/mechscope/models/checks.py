"""What a check at open says: one row an identity and site, and everything measured on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mechscope.core import LayerComponent, Spec
from mechscope.models.network import Habits

__all__ = ["Check", "CheckResult", "Verification", "measured_row", "plain_row"]


class Check(Spec):
    """One row: an identity measured for one site. `error` is None where there is no number, or it is not finite."""

    name: str
    site: str
    error: float | None
    tolerance: float | None
    passed: bool
    note: str = ""


class Verification(Spec):
    """What was measured when a model was opened. `was_run` is False when the caller asked for no checks.

    `remembered` says that the rows were measured earlier, on a model of the same architecture, sizes and versions.
    """

    was_run: bool
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    remembered: bool = False

    @property
    def failed(self) -> dict[str, str]:
        """Why each refused site is refused."""
        reasons: dict[str, str] = {}
        for check in self.checks:
            if not check.passed:
                reasons.setdefault(check.site, _reason(check))
        return reasons


@dataclass(frozen=True)
class CheckResult:
    """A verification, with the shapes and habits measured on the way."""

    verification: Verification
    shapes: dict[LayerComponent, tuple[int, ...]]
    habits: Habits


def measured_row(name: str, site: LayerComponent, error: float, *, tolerance: float, note: str = "") -> Check:
    """A row with a number; it passes when the number is at most the tolerance (NaN is not)."""
    finite = error if math.isfinite(error) else None
    return Check(name=name, site=str(site), error=finite, tolerance=tolerance, passed=error <= tolerance, note=note)


def plain_row(name: str, site: LayerComponent, fault: str) -> Check:
    """A row without a number; it passes when there is no fault."""
    return Check(name=name, site=str(site), error=None, tolerance=None, passed=not fault, note=fault)


def _reason(check: Check) -> str:
    if check.tolerance is None:
        return f"{check.name}: {check.note}"
    measured = "is not a number" if check.error is None else f"is {check.error:.1e}"
    note = f" ({check.note})" if check.note else ""
    return f"{check.name}{note}: relative error {measured}, allowed {check.tolerance:.0e}"
