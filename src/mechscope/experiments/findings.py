"""What a kind writes into while it runs, so that what it had when it failed is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mechscope.experiments.results import Aggregates, ConstraintViolation, Diagnostics
from mechscope.experiments.tables import ResultTable

__all__ = ["DOES_NOT_APPLY", "FLOOR_RATE", "Findings", "plain"]

FLOOR_RATE = 0.5
"""Share of contexts at zero in every condition from which on a ReLU floor is reported."""

AS_THEY_ARE = frozenset({str, int, bool, type(None)})

DOES_NOT_APPLY = "DOES NOT APPLY"
"""How a warning begins that goes before everything else: what was asked has no answer here."""


def plain(value: Any) -> Any:
    """A value as JSON types: numpy scalars and arrays as Python's, what is not finite as None."""
    if type(value) in AS_THEY_ARE:
        return value
    if isinstance(value, float):  # those of numpy too
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} in a result; give numbers, text, lists or mappings")


@dataclass
class Findings:
    """Aggregates, tables and diagnostics as they come. Every number is made plain when it is written in."""

    mean_delta: float | None = None
    std_delta: float | None = None
    n_samples: int | None = None
    custom: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, ResultTable] = field(default_factory=dict)
    claims: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    violations: dict[tuple[str, str], int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    relu_floor_rate: float | None = None
    n_contexts_tested: int = 0
    n_comparisons: int = 0

    def aggregate(
        self, *, mean_delta: float | None = None, std_delta: float | None = None, n_samples: int | None = None
    ) -> None:
        """Write the headline numbers; NaN and infinity become "not measured"."""
        self.mean_delta = None if mean_delta is None or not math.isfinite(mean_delta) else float(mean_delta)
        self.std_delta = None if std_delta is None or not math.isfinite(std_delta) else float(std_delta)
        self.n_samples = None if n_samples is None else int(n_samples)

    def add(self, **custom: Any) -> None:
        """Write aggregates of this kind alone into `custom`."""
        self.custom.update({name: plain(value) for name, value in custom.items()})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, caption: str = "") -> None:
        """Write, or replace, a table."""
        kept = tuple({key: plain(value) for key, value in row.items()} for row in rows)
        self.tables[name] = ResultTable(name=name, columns=tuple(columns), rows=kept, caption=caption)

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def note(self, text: str) -> None:
        """Add a sentence on how the numbers were obtained, once."""
        if text not in self.notes:
            self.notes.append(text)

    def claim(self, text: str) -> None:
        """Add a statement that passed its corrected test and its held-out half."""
        self.claims.append(text)

    def find(self, text: str) -> None:
        """Add something that deserves a look and is no claim."""
        self.findings.append(text)

    def violate(self, constraint: str, message: str, n: int = 1) -> None:
        """Count a violation of a constraint; it is reported as a violation and as a warning."""
        self.violations[constraint, message] = self.violations.get((constraint, message), 0) + n

    def drop(self, reason: str, n: int = 1) -> None:
        """Count what was left out."""
        if n:
            self.dropped[reason] = self.dropped.get(reason, 0) + n

    @property
    def is_measured(self) -> bool:
        """Whether there is a number of the subject: a headline, or a table with rows."""
        return self.mean_delta is not None or any(table.rows for table in self.tables.values())

    def aggregates(self) -> Aggregates:
        """The aggregates so far."""
        return Aggregates(
            mean_delta=self.mean_delta, std_delta=self.std_delta, n_samples=self.n_samples, custom=dict(self.custom)
        )

    def diagnostics(self, *, n_forwards: int) -> Diagnostics:
        """The diagnostics so far."""
        violations = tuple(
            ConstraintViolation(constraint=constraint, message=message, n=n)
            for (constraint, message), n in self.violations.items()
        )
        violated = [f"{v.constraint}: {v.message}" + (f" ({v.n} times)" if v.n > 1 else "") for v in violations]
        return Diagnostics(
            relu_floor_detected=self.relu_floor_rate is not None and self.relu_floor_rate >= FLOOR_RATE,
            relu_floor_rate=self.relu_floor_rate,
            n_contexts_tested=self.n_contexts_tested,
            warnings=(*self.warnings, *violated),
            constraint_violations=violations,
            dropped=dict(self.dropped),
            rows=dict(self.rows),
            n_forwards=n_forwards,
            n_comparisons=self.n_comparisons,
            notes=tuple(self.notes),
        )
