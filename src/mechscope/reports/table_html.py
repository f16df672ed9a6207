"""Tables to HTML: right-aligned tabular numbers, units in the head, sort keys for the page's own script."""

from __future__ import annotations

from collections.abc import Collection

from mechscope.reports.badges import badge
from mechscope.reports.markup import Html, element, escape, join, show_token
from mechscope.reports.numbers import NumberForm, write_interval, write_number
from mechscope.reports.table_block import Cell, Column, Estimate, Table

__all__ = ["table_html"]

NUMBER_FORMS = frozenset({"number", "percent", "integer", "feature", "tier"})


def table_html(table: Table, *, linked_features: Collection[int] = ()) -> Html:
    """A table in a box that scrolls sideways on narrow screens; without rows, its note."""
    title = element("figcaption", table.title, class_="title") if table.title else None
    caption = element("p", table.caption, class_="caption") if table.caption else None
    if not table.rows:
        return element("figure", title, element("p", table.empty_note, class_="empty"), caption, class_="block table")
    head = element("tr", *[_head(column) for column in table.columns])
    body = [
        element("tr", *[_cell(cell, column, linked_features) for cell, column in zip(row, table.columns, strict=True)])
        for row in table.rows
    ]
    drawn = element("table", element("thead", head), element("tbody", *body))
    return element("figure", title, element("div", drawn, class_="scroll", tabindex=0), caption, class_="block table")


def _head(column: Column) -> Html:
    unit = element("span", f" {column.unit}", class_="unit") if column.unit else None
    button = element("button", column.name, unit, type="button", title=column.help or None)
    return element("th", button, scope="col", class_="num" if column.form in NUMBER_FORMS else None, aria_sort="none")


def _cell(cell: Cell, column: Column, linked_features: Collection[int]) -> Html:
    kind = "num" if column.form in NUMBER_FORMS else None
    if cell is None:
        return element("td", element("span", "–", class_="none", title="not measured"), class_=kind, data_sort="")
    if isinstance(cell, Estimate):
        return element("td", _estimate(cell, column), class_="num", data_sort=repr(cell.value))
    if isinstance(cell, bool):
        mark = element("span", "✓ yes" if cell else "✕ no", class_="yes" if cell else "no")
        return element("td", mark, class_=kind, data_sort=int(cell))
    if isinstance(cell, int | float) and column.form in NUMBER_FORMS:
        return element("td", _number(cell, column, linked_features), class_=kind, data_sort=repr(cell))
    return element("td", _text(str(cell), column), class_=kind, data_sort=str(cell))


def _number(cell: float, column: Column, linked_features: Collection[int]) -> Html:
    if column.form == "tier":
        return badge(int(cell))
    if column.form == "feature":
        shown = f"#{int(cell)}"
        return element("a", shown, href=f"#feature-{int(cell)}") if cell in linked_features else escape(shown)
    form: NumberForm = column.form if column.form in ("percent", "integer") else "number"
    return escape(write_number(cell, form, digits=column.digits))


def _estimate(cell: Estimate, column: Column) -> Html:
    form: NumberForm = column.form if column.form in ("percent", "integer") else "number"
    title = None if cell.n is None else f"n = {cell.n:,}"
    value = element("span", write_number(cell.value, form, digits=column.digits), title=title)
    if cell.low is None or cell.high is None:
        return value
    ends = write_interval(cell.low, cell.high, form, digits=column.digits)
    return join([value, element("span", f" {ends}", class_="interval")])


def _text(cell: str, column: Column) -> Html:
    if column.form == "token":
        return element("code", show_token(cell), class_="token")
    return element("code", cell) if column.form == "code" else escape(cell)
