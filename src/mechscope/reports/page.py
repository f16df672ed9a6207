"""The page around the blocks: policy, style, contents, footer and scripts, all inside one file.

The content security policy forbids every network load and allows exactly two scripts, by their SHA-256: a script
that came in through data would not run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib.resources import files

from plotly.offline import get_plotlyjs

from mechscope.reports.markup import Html, element, escape, join
from mechscope.reports.numbers import write_number
from mechscope.reports.provenance import Provenance
from mechscope.reports.render import Contents, Renderer

__all__ = ["page"]

PROVENANCE_ANCHOR, PROVENANCE_TITLE = "where-from", "Where this comes from"


def page(title: str, subtitle: str, *, body: Html, renderer: Renderer, footer: Provenance) -> str:
    """The whole document. Call it after every block was drawn by `renderer`, whose contents it lists."""
    scripts = [_asset("report.js")]
    if renderer.n_figures:
        scripts.insert(0, _plotly_script())
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(scripts)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(_asset("report.css"))),
    )
    top = element("header", element("h1", title), element("p", subtitle) if subtitle else None, class_="top")
    main = element("main", top, body, _footer(footer))
    written = [element("script", Html(script)) for script in scripts]
    lines = [*renderer.contents, Contents(PROVENANCE_ANCHOR, PROVENANCE_TITLE, 2)]
    shell = element("div", _contents(lines), main, class_="page")
    return "<!doctype html>\n" + element("html", head, element("body", shell, *written), lang="en") + "\n"


def _policy(scripts: list[str]) -> str:
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@lru_cache(maxsize=1)
def _plotly_script() -> str:
    return str(get_plotlyjs()).replace("\r", "\n").replace("</script", "<\\/script")


@lru_cache(maxsize=4)
def _asset(name: str) -> str:
    return files("mechscope.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _contents(lines: list[Contents]) -> Html | None:
    if len(lines) < 3:
        return None
    links = [
        element("li", element("a", line.text, href=f"#{line.anchor}"), class_=f"level-{line.level}") for line in lines
    ]
    opened = element("details", element("summary", "Contents"), element("ol", *links), open=True)
    return element("nav", opened, class_="contents", aria_label="Contents")


def _footer(provenance: Provenance) -> Html:
    wall = None if provenance.wall_seconds is None else f"{write_number(provenance.wall_seconds)} s"
    facts = {
        "date": provenance.date,
        "spec digest": provenance.spec_digest,
        "mechscope": provenance.code_version,
        "device": provenance.device,
        "wall time": wall,
        "seeds": ", ".join(f"{name} {seed}" for name, seed in provenance.seeds.items()),
        "packages": ", ".join(f"{name} {version}" for name, version in provenance.packages.items()),
        **provenance.details,
    }
    rows = [element("div", element("dt", name), element("dd", value)) for name, value in facts.items() if value]
    command = element("pre", element("code", escape(provenance.command)))
    return element(
        "footer",
        element("h2", PROVENANCE_TITLE, id=PROVENANCE_ANCHOR),
        join([element("p", "The command that makes these results again:"), command]),
        element("dl", *rows, class_="facts wide") if rows else None,
    )
