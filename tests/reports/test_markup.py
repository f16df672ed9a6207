"""Everything is escaped, and nothing hides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechscope.reports.markup import Html, element, plot_text, show_token


def test_text_is_escaped_and_markup_is_not_escaped_twice() -> None:
    inner = element("b", '<img src=x onerror="y">')
    assert element("p", inner, " & ") == "<p><b>&lt;img src=x onerror=&quot;y&quot;&gt;</b> &amp; </p>"


def test_attributes_are_escaped_and_absent_ones_left_away() -> None:
    made = element("a", "x", class_='"><script>', data_sort=3, open=True, hidden=False, title=None)
    assert made == '<a class="&quot;&gt;&lt;script&gt;" data-sort="3" open>x</a>'
    assert element("meta", name="viewport") == '<meta name="viewport">'


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", "␣the"),
        ("\n", "↵"),
        ("\t\t", "⇥⇥"),
        ("   ", "␣␣␣"),
        ("\x00\x1b[0m", "␀␛[0m"),
        ("\x7f", "␡"),
        ("\u202eevil", "[U+202E]evil"),
        ("a\u200bb", "a[U+200B]b"),
        ("", "[empty]"),
        ("héllo 🦑", "héllo 🦑"),
    ],
)
def test_every_character_of_a_token_is_visible(token: str, shown: str) -> None:
    assert show_token(token) == shown


def test_spaces_stay_in_running_text() -> None:
    assert show_token(" the", mark_edges=False) == " the"


@given(st.text(max_size=30))
def test_no_token_can_open_a_tag(token: str) -> None:
    assert "<" not in element("span", show_token(token)).removeprefix("<span>").removesuffix("</span>")
    assert "<" not in plot_text(token)
    assert ">" not in plot_text(token)


def test_plot_text_is_cut_before_it_is_escaped() -> None:
    assert plot_text("<" * 10, longest=4) == "&lt;&lt;&lt;…"


def test_html_is_kept_as_it_is() -> None:
    assert element("p", Html("<i>")) == "<p><i></p>"
