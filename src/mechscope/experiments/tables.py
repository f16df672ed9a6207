"""A table of a result: named columns, rows as mappings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pydantic import JsonValue, model_validator

from mechscope.core import Spec

__all__ = ["ResultTable", "estimate_columns"]


if TYPE_CHECKING:
    Cell = JsonValue
else:
    # the same values; pydantic finds out the type of a JsonValue in Python, that of a union in compiled code
    Cell = bool | int | float | str | None | list[JsonValue] | dict[str, JsonValue]


class ResultTable(Spec):
    """Rows by column name; a value that a row lacks was not measured. `caption` says what the numbers are."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Cell], ...] = ()
    caption: str = ""

    @model_validator(mode="after")
    def _rows_fit_the_columns(self) -> Self:
        known = set(self.columns)
        for row in self.rows:
            if not known.issuperset(row):
                unknown = sorted(set(row) - known)
                raise ValueError(f"a row of table {self.name!r} has {unknown[0]!r}, which is no column of it")
        return self

    def column(self, name: str) -> list[JsonValue]:
        """One column, None where a row lacks it."""
        return [row.get(name) for row in self.rows]


def estimate_columns(columns: Sequence[str]) -> dict[str, str]:
    """Which columns are estimates with an interval: name -> prefix of its two ends (`<prefix>low`, `<prefix>high`).

    `tested_low` belongs to the nearest column before it that begins with `tested_` and is no count, spread or p, else
    to `tested`; `low` to the nearest such column of all.
    """
    found = {}
    for at, name in enumerate(columns):
        prefix = name.removesuffix("low")
        if name != "low" and not prefix.endswith("_"):
            continue
        before = [known for known in columns[:at] if known.startswith(prefix) and not _is_beside(known, prefix)]
        bare = prefix.removesuffix("_")
        estimate = next(reversed(before), bare if bare in columns else None)
        if estimate:
            found[estimate] = prefix
    return found


def _is_beside(name: str, prefix: str) -> bool:
    own = name.removeprefix(prefix)
    return own in {"n", "std", "std_error", "p"} or own.startswith(("n_", "p_"))
