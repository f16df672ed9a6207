"""The page: self-contained, escaped, in order, and the same bytes for the same results."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mechscope.reports import (
    Block,
    Example,
    Examples,
    Fact,
    FeatureCard,
    Grid,
    Heading,
    KeyFigure,
    KeyFigures,
    Note,
    Prose,
    Provenance,
    Report,
    Section,
    SimilarFeature,
    Token,
    TokenScore,
    Verdict,
    decoder_outputs,
    similar_features_table,
)

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
FROM = Provenance(
    command="mechscope demo", date="2026-11-20", spec_digest="ab12", seeds={"corpus": 0}, wall_seconds=3.0
)


class Page(HTMLParser):
    """Collects elements, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "hr", "link", "input"}:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)


def everything(text: str) -> tuple[Block, ...]:
    example = Example(
        tokens=(Token(text=text, value=1.0), Token(text="b", value=0.0)), value=1.0, label=text, details=text
    )
    card = FeatureCard(
        feature=7,
        title=text,
        subtitle=text,
        tier=2,
        facts=(Fact(name=text, value=text), Fact(name="n", value=None)),
        blocks=(Heading(text="inside", level=3), Examples(examples=(example,), form="chips", title=text)),
    )
    return (
        Heading(text=text),
        Prose(text=f"{text} **{text}** `{text}`\n\n- {text}"),
        KeyFigures(
            items=(KeyFigure(label=text, value=0.5, how=text, n=3, low=0.4, high=0.6, control=text, unit=text),)
        ),
        Note(text=text, title=text, tone="warning"),
        Verdict(tier=3, sentence=text, passed=(text,), failed=(text,)),
        Grid(cells=((decoder_outputs([TokenScore(token=text, value=1.0)], []),), (Examples(examples=(example,)),))),
        card,
        Section(
            title=text, blocks=(similar_features_table([SimilarFeature(feature=7, label=text, top_tokens=(text,))]),)
        ),
    )


@pytest.fixture(scope="module")
def nasty_html() -> str:
    provenance = FROM.updated(command=NASTY, details={NASTY: NASTY})
    return Report(title=NASTY, subtitle=NASTY, blocks=everything(NASTY), provenance=provenance).to_html()


def test_no_text_becomes_markup(nasty_html: str) -> None:
    page = Page(nasty_html)
    assert page.open == []
    assert not [tag for tag, _ in page.elements if tag in {"img", "iframe", "link", "object"}]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert [kind for kind, _ in page.scripts] == ["application/json", None, None]


def test_figure_data_survives_its_embedding(nasty_html: str) -> None:
    figure: dict[str, Any] = json.loads(Page(nasty_html).scripts[0][1])
    assert figure["layout"]["yaxis"]["ticktext"][0].startswith("&lt;/script&gt;")


def test_nothing_is_loaded_from_anywhere(nasty_html: str) -> None:
    page = Page(nasty_html)
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"src", "href", "srcset"}
    ]
    assert addresses
    assert all(value and value.startswith("#") for value in addresses)
    style = nasty_html[nasty_html.index("<style>") : nasty_html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_exactly_the_two_scripts_of_the_page(nasty_html: str) -> None:
    page = Page(nasty_html)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    code = [text for kind, text in page.scripts if kind is None]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests


def test_every_anchor_is_unique_and_every_link_has_its_target(nasty_html: str) -> None:
    page = Page(nasty_html)
    anchors = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert len(anchors) == len(set(anchors))
    assert links <= {f"#{anchor}" for anchor in anchors}


def test_blocks_stand_in_order() -> None:
    blocks = (Heading(text="First"), Prose(text="second"), Section(title="Third", blocks=(Note(text="fourth"),)))
    text = Report(title="T", blocks=blocks, provenance=FROM).to_html()
    body = text[text.index("<main>") :]
    places = [body.index(word) for word in ("First", "second", "Third", "fourth", "Where this comes from")]
    assert places == sorted(places)


def test_contents_list_headings_and_cards_but_nothing_inside_them() -> None:
    blocks = (Heading(text="Top"), FeatureCard(feature=7, title="x", blocks=(Section(title="deep", blocks=()),)))
    text = Report(title="T", blocks=blocks, provenance=FROM).to_html()
    nav = text[text.index("<nav") : text.index("</nav>")]
    assert re.findall(r'href="#([^"]+)"', nav) == ["top", "feature-7", "where-from"]


def test_plotly_is_inlined_once_and_only_when_there_is_a_figure() -> None:
    figure = decoder_outputs([TokenScore(token="a", value=1.0)], [])
    without = Report(title="T", blocks=(Prose(text="x"),), provenance=FROM).to_html()
    with_two = Report(title="T", blocks=(figure, figure), provenance=FROM).to_html()
    assert len(without) < 40_000
    assert len(with_two) < 6_000_000
    assert with_two.count("plotly.js v") == 1


def test_an_empty_figure_needs_no_plotly() -> None:
    text = Report(title="T", blocks=(decoder_outputs([], []),), provenance=FROM).to_html()
    assert "No output was ranked for this feature." in text
    assert len(text) < 40_000


def test_a_report_survives_json_and_gives_the_same_bytes() -> None:
    report = Report(title="T", blocks=everything("plain"), provenance=FROM)
    again = Report.parse(json.loads(json.dumps(report.to_json())))
    assert again == report
    assert again.digest == report.digest
    assert again.to_html() == report.to_html()


def test_tokens_carry_their_exact_value_for_hover_and_for_readers_without_colour() -> None:
    tokens = (Token(text=" cat", value=2.0), Token(text="\n", value=0.5), Token(text="sat", value=0.0), Token(text="x"))
    block = Examples(examples=(Example(tokens=tokens),), unit="units")
    text = html.unescape(Report(title="T", blocks=(block,), provenance=FROM).to_html())
    assert '<mark class="t on peak" style="--level:100" data-value="2.00 units" tabindex="0"> cat</mark>' in text
    assert '<mark class="t on" style="--level:25" data-value="0.500 units">↵</mark>' in text
    assert '<span class="t" title="0 units">sat</span><span class="t">x</span>' in text


def test_provenance_shows_what_is_known_and_leaves_out_what_is_not() -> None:
    text = Report(title="T", blocks=(), provenance=FROM).to_html()
    footer = text[text.index("<footer>") :]
    assert "mechscope demo" in footer
    assert "corpus 0" in footer
    assert "3.00 s" in footer
    assert "device" not in footer
