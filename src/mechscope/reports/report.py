"""The report: blocks and provenance in, one self-contained HTML file out."""

from __future__ import annotations

from mechscope.core import Spec
from mechscope.reports.blocks import Block
from mechscope.reports.page import page
from mechscope.reports.provenance import Provenance
from mechscope.reports.render import Renderer

__all__ = ["Report"]


class Report(Spec):
    """A frozen report. It holds results alone, so equal results give an equal file.

    Example:
        >>> from mechscope.reports import Prose, Provenance, Report
        >>> report = Report(title="A look", blocks=(Prose(text="Nothing yet."),), provenance=Provenance(command="x"))
        >>> report.to_html().startswith("<!doctype html>")
        True
    """

    title: str
    subtitle: str = ""
    blocks: tuple[Block, ...]
    provenance: Provenance

    def to_html(self) -> str:
        """The whole page: no file and no network is needed to read it. About 5 MB when it holds a figure, since
        Plotly's script stands inside once; a few kB otherwise. The caller writes it, encoded as UTF-8.
        """
        renderer = Renderer.for_blocks(self.blocks)
        return page(
            self.title, self.subtitle, body=renderer.blocks(self.blocks), renderer=renderer, footer=self.provenance
        )
