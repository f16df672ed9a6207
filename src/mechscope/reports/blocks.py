"""What a report is made of: frozen blocks that survive JSON. They hold results and compute nothing."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from mechscope.core import Spec
from mechscope.reports.numbers import NumberForm
from mechscope.reports.table_block import Table

__all__ = [
    "TIERS",
    "Block",
    "Example",
    "Examples",
    "Fact",
    "FeatureCard",
    "Figure",
    "Grid",
    "Heading",
    "KeyFigure",
    "KeyFigures",
    "Note",
    "Prose",
    "Section",
    "Token",
    "Verdict",
]

TIERS = (
    "observed",
    "decodable / associated",
    "selective",
    "causally used",
    "necessary and sufficient",
    "replicated",
)
Tier = Annotated[int, Field(ge=0, lt=len(TIERS))]


class Heading(Spec):
    """A heading; levels 2 and 3 stand in the table of contents."""

    kind: Literal["heading"] = "heading"
    text: str
    level: Literal[2, 3] = 2


class Prose(Spec):
    """Paragraphs parted by empty lines, with `**bold**` and backticked `code`; lines after `- ` make a list."""

    kind: Literal["prose"] = "prose"
    text: str


class KeyFigure(Spec):
    """One number that matters, with how it was obtained.

    `value` None means "not measured" and is shown so. `how` is one line such as "held-out builds, micro-averaged".
    """

    label: str
    value: float | int | str | None
    how: str = Field(min_length=1)
    form: NumberForm = "number"
    digits: int | None = Field(default=None, ge=0, le=8)
    unit: str = ""
    n: int | None = Field(default=None, ge=0)
    n_unit: str = "rows"
    low: float | None = None
    high: float | None = None
    level: float = Field(default=0.95, gt=0, lt=1)
    control: str = ""
    tier: Tier | None = None


class KeyFigures(Spec):
    """Key figures in a row of cards."""

    kind: Literal["key_figures"] = "key_figures"
    items: tuple[KeyFigure, ...]


class Figure(Spec):
    """A Plotly figure as plain data. With `empty_note` set there was nothing to draw, and the note is shown instead.

    `numbers` is what the figure draws, as a table that the reader can open: the figure's text alternative.
    """

    kind: Literal["figure"] = "figure"
    title: str
    caption: str
    traces: tuple[dict[str, Any], ...] = ()
    layout: dict[str, Any] = {}
    height_px: int = Field(default=320, ge=80, le=4000)
    numbers: Table | None = None
    empty_note: str = ""

    @field_validator("traces", "layout")
    @classmethod
    def _plain_json(cls, value: Any) -> Any:
        try:
            json.dumps(value, allow_nan=False)
        except TypeError as error:
            raise ValueError(f"a figure holds JSON types alone: {error}") from error
        return value

    def to_plotly(self) -> dict[str, Any]:
        """The figure as Plotly's `{"data": ..., "layout": ...}`, for example for `plotly.graph_objects.Figure`."""
        return {"data": list(self.traces), "layout": {**self.layout, "height": self.height_px}}


class Token(Spec):
    """One token and its activation; None where it was not measured."""

    text: str
    value: float | None = None


class Example(Spec):
    """One row of a corpus as its tokens. `value` is the row's own number (its largest, or its pooled activation)."""

    tokens: tuple[Token, ...]
    value: float | None = None
    label: str = ""
    details: str = ""


class Examples(Spec):
    """Rows with their tokens shaded by activation, `maximum` being full shade; `form` "chips" is for sets.

    Tokens may be shaded by another measure than the row's own: `token_maximum` and `token_unit` are then theirs.
    """

    kind: Literal["examples"] = "examples"
    examples: tuple[Example, ...]
    title: str = ""
    caption: str = ""
    form: Literal["text", "chips"] = "text"
    maximum: float | None = Field(default=None, ge=0)
    unit: str = "activation"
    token_maximum: float | None = Field(default=None, ge=0)
    token_unit: str = ""
    empty_note: str = "No example is active."


class Note(Spec):
    """A remark that must not be missed."""

    kind: Literal["note"] = "note"
    text: str
    tone: Literal["info", "good", "warning", "bad"] = "info"
    title: str = ""


class Verdict(Spec):
    """A sentence with its evidence tier, the tests that passed and those that did not."""

    kind: Literal["verdict"] = "verdict"
    tier: Tier
    sentence: str
    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Grid(Spec):
    """Cells side by side as far as the width allows, each a column of blocks."""

    kind: Literal["grid"] = "grid"
    cells: tuple[tuple[Block, ...], ...]
    cell_min_px: int = Field(default=340, ge=120, le=900)


class Section(Spec):
    """Blocks that fold away under a title."""

    kind: Literal["section"] = "section"
    title: str
    blocks: tuple[Block, ...]
    is_open: bool = False


class Fact(Spec):
    """A short number or word about a feature."""

    name: str
    value: float | int | str | None
    form: NumberForm = "number"
    digits: int | None = Field(default=None, ge=0, le=8)
    help: str = ""


class FeatureCard(Spec):
    """One feature: its id, what it may be, its facts, and the blocks that show it."""

    kind: Literal["feature_card"] = "feature_card"
    feature: int = Field(ge=0)
    title: str = ""
    subtitle: str = ""
    tier: Tier | None = None
    facts: tuple[Fact, ...] = ()
    blocks: tuple[Block, ...] = ()


Block = Annotated[
    Heading | Prose | KeyFigures | Table | Figure | Examples | Note | Verdict | Grid | Section | FeatureCard,
    Field(discriminator="kind"),
]

for _container in (Grid, Section, FeatureCard):
    _container.model_rebuild()
