"""Blocks to HTML. The renderer carries what blocks share: anchors, the table of contents, which features have cards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mechscope.reports.badges import badge, facts_html, key_figures_html, verdict_html
from mechscope.reports.blocks import (
    Block,
    Examples,
    FeatureCard,
    Figure,
    Grid,
    Heading,
    KeyFigures,
    Note,
    Prose,
    Section,
    Verdict,
)
from mechscope.reports.examples_html import examples_html
from mechscope.reports.markup import Html, element, join
from mechscope.reports.prose import paragraphs
from mechscope.reports.table_block import Table
from mechscope.reports.table_html import table_html

__all__ = ["Contents", "Renderer", "embed_json", "walk"]


@dataclass(frozen=True)
class Contents:
    """One line of the table of contents; `level` 2 or 3."""

    anchor: str
    text: str
    level: int


@dataclass
class Renderer:
    """Draws blocks in order and remembers what the page needs around them."""

    features: frozenset[int] = frozenset()
    contents: list[Contents] = field(default_factory=list)
    n_figures: int = 0
    _anchors: set[str] = field(default_factory=lambda: {"where-from"})
    _depth: int = 0

    @classmethod
    def for_blocks(cls, blocks: Iterable[Block]) -> Renderer:
        """A renderer that knows which features have a card in `blocks`, so that tables can link to them."""
        return cls(frozenset(block.feature for block in walk(blocks) if isinstance(block, FeatureCard)))

    def blocks(self, blocks: Iterable[Block]) -> Html:
        """Blocks one below the other."""
        return join([self.block(block) for block in blocks])

    def block(self, block: Block) -> Html:
        """One block."""
        match block:
            case Heading():
                return element(f"h{block.level}", block.text, id=self._anchor(block.text, block.text, block.level))
            case Prose():
                return element("div", paragraphs(block.text), class_="block prose")
            case KeyFigures():
                return key_figures_html(block)
            case Table():
                return table_html(block, linked_features=self.features)
            case Figure():
                return self._figure(block)
            case Examples():
                return examples_html(block)
            case Verdict():
                return verdict_html(block)
            case _:
                return self._container(block)

    def _inside(self, blocks: Iterable[Block]) -> Html:
        """Blocks inside a fold or a card: their sections and headings keep anchors but are not in the contents."""
        self._depth += 1
        drawn = self.blocks(blocks)
        self._depth -= 1
        return drawn

    def _container(self, block: Note | Grid | Section | FeatureCard) -> Html:
        match block:
            case Note():
                title = element("strong", block.title) if block.title else None
                return element("aside", title, paragraphs(block.text), class_=f"block note {block.tone}", role="note")
            case Grid():
                cells = [element("div", self.blocks(cell), class_="cell") for cell in block.cells]
                return element("div", *cells, class_="grid", style=f"--cell:{block.cell_min_px}px")
            case Section():
                anchor = self._anchor(block.title, block.title, 3)
                body = element("div", self._inside(block.blocks), class_="inside")
                summary = element("summary", block.title)
                return element("details", summary, body, id=anchor, class_="block section", open=block.is_open)
            case FeatureCard():
                return self._feature_card(block)

    def _feature_card(self, block: FeatureCard) -> Html:
        name = f"#{block.feature}"
        anchor = self._anchor(f"feature-{block.feature}", f"{name} {block.title}".strip(), 3)
        head = element(
            "header",
            element("h3", element("span", name, class_="id"), f" {block.title}"),
            badge(block.tier) if block.tier is not None else None,
            element("p", block.subtitle) if block.subtitle else None,
        )
        facts = facts_html(block.facts) if block.facts else None
        return element("article", head, facts, self._inside(block.blocks), id=anchor, class_="block feature-card")

    def _figure(self, block: Figure) -> Html:
        title = element("figcaption", block.title, class_="title")
        caption = element("p", block.caption, class_="caption") if block.caption else None
        if block.empty_note:
            return element(
                "figure", title, element("p", block.empty_note, class_="empty"), caption, class_="block plot"
            )
        self.n_figures += 1
        data = element("script", embed_json(block.to_plotly()), type="application/json")
        style = f"height:{block.height_px}px"
        canvas = element("div", class_="canvas", style=style, role="img", aria_label=f"{block.title}. {block.caption}")
        numbers = None
        if block.numbers is not None:
            numbers = element(
                "details",
                element("summary", "Numbers"),
                table_html(block.numbers, linked_features=self.features),
                class_="numbers",
            )
        return element("figure", title, canvas, caption, numbers, data, class_="block plot")

    def _anchor(self, wanted: str, text: str, level: int) -> str:
        base = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-") or "part"
        anchor, n = base, 1
        while anchor in self._anchors:
            n += 1
            anchor = f"{base}-{n}"
        self._anchors.add(anchor)
        if self._depth == 0:
            self.contents.append(Contents(anchor, text, level))
        return anchor


def embed_json(value: object) -> Html:
    """JSON that can stand inside a script element: no `<` and no line separators, so nothing can end it early."""
    return Html(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def walk(blocks: Iterable[Block]) -> Iterator[Block]:
    """Every block, those inside containers included, in the order of the page."""
    for block in blocks:
        yield block
        if isinstance(block, Section | FeatureCard):
            yield from walk(block.blocks)
        elif isinstance(block, Grid):
            for cell in block.cells:
                yield from walk(cell)
