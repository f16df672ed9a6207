"""A table of a result: named columns, rows as mappings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import JsonValue, model_validator

from mechscope.core import Spec

__all__ = ["ResultTable", "estimate_columns"]


class ResultTable(Spec):
    """Rows by column name; a value that a row lacks was not measured. `caption` says what the numbers are."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, JsonValue], ...] = ()
    caption: str = ""

    @model_validator(mode="after")
    def _rows_fit_the_columns(self) -> Self:
        known = set(self.columns)
        for row in self.rows:
            if unknown := sorted(set(row) - known):
                raise ValueError(f"a row of table {self.name!r} has {unknown[0]!r}, which is no column of it")
        return self

    def column(self, name: str) -> list[JsonValue]:
        """One column, None where a row lacks it."""
        return [row.get(name) for row in self.rows]


def estimate_columns(columns: Sequence[str]) -> dict[str, str]:
    """Which columns are estimates with an interval: name -> prefix of its two ends (`<prefix>low`, `<prefix>high`).

    `adjusted_low` belongs to `adjusted`; a bare `low` to the first mean or delta.
    """
    first = next((name for name in columns if name.startswith("mean") or name.endswith("delta")), None)
    prefixes = [name.removesuffix("low") for name in columns if name == "low" or name.endswith("_low")]
    found = {prefix.removesuffix("_") or first: prefix for prefix in prefixes}
    return {name: prefix for name, prefix in found.items() if name is not None and name in columns}
