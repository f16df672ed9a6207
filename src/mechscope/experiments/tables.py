"""A table of a result: named columns, rows as mappings."""

from __future__ import annotations

from typing import Self

from pydantic import JsonValue, model_validator

from mechscope.core import Spec

__all__ = ["ResultTable"]


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
