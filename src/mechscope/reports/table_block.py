"""Tables as frozen blocks: typed columns, cells with their intervals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mechscope.core import Spec

__all__ = ["Cell", "Column", "Estimate", "Table"]


class Estimate(Spec):
    """A number with its interval; `n` is the sample size behind it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @model_validator(mode="after")
    def _both_ends(self) -> Estimate:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval needs both ends")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the interval's low end {self.low} lies above its high end {self.high}")
        return self


Cell = str | bool | int | float | Estimate | None


class Column(Spec):
    """One column: how its cells are written. "feature" links to the feature's card; "tier" draws a badge."""

    name: str
    form: Literal["text", "token", "code", "feature", "tier", "number", "percent", "integer"] = "text"
    unit: str = ""
    digits: int | None = Field(default=None, ge=0, le=8)
    help: str = ""


class Table(Spec):
    """A table that can be sorted in the page. None in a cell is shown as a dash: not measured."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    caption: str = ""
    empty_note: str = "No rows."

    @model_validator(mode="after")
    def _rows_fit(self) -> Table:
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {index} has {len(row)} cells for {len(self.columns)} columns")
        return self
