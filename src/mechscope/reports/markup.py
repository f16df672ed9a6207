"""HTML that is safe by construction: text is escaped unless it is already `Html`, and odd characters are shown."""

from __future__ import annotations

import html
import unicodedata

__all__ = ["Html", "element", "escape", "join", "plot_text", "show_token"]

VOID = frozenset({"br", "hr", "meta", "input", "link"})
CONTROL_PICTURES = 0x2400
DELETE, DELETE_PICTURE = 0x7F, "␡"
NAMED = {"\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽", "\u2028": "[U+2028]", "\u2029": "[U+2029]"}
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Html(str):
    """Text that is markup already; everything else is escaped by `element`."""

    __slots__ = ()


def escape(text: str) -> Html:
    """`text` as HTML text or attribute value. An `Html` is returned as it is."""
    return text if isinstance(text, Html) else Html(html.escape(text, quote=True))


def join(parts: list[Html] | list[str], *, between: str = "") -> Html:
    """Parts side by side, each escaped unless it is `Html`."""
    return Html(escape(between).join(escape(part) for part in parts))


def element(name: str, /, *children: str | None, **attributes: str | int | bool | None) -> Html:
    """One element. Children that are not `Html` are escaped; None is left away.

    Args:
        name: the tag.
        children: text or `Html`.
        attributes: `class_` gives `class`, `data_sort` gives `data-sort`; True gives a bare attribute,
            None and False give none.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join([child for child in children if child is not None])}</{name}>")


def show_token(text: str, *, mark_edges: bool = True) -> str:
    """A token with everything visible: controls as pictures, hidden and bidirectional characters as `[U+200B]`.

    Args:
        text: the token as it stands in the vocabulary.
        mark_edges: show spaces at either end as `␣` (for tokens that stand alone rather than in running text).
    """
    if text == "":
        return "[empty]"
    shown = "".join(_show_character(character) for character in text)
    if mark_edges:
        inner = shown.strip(" ")
        left = len(shown) - len(shown.lstrip(" "))
        shown = "␣" * left + inner + "␣" * (len(shown) - left - len(inner))
    return shown


def plot_text(text: str, *, longest: int = 40) -> str:
    """A token as Plotly text, which reads a little HTML of its own; cut at `longest` characters with an ellipsis."""
    shown = show_token(text)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _show_character(character: str) -> str:
    if character in NAMED:
        return NAMED[character]
    code = ord(character)
    if code < 0x20:
        return chr(CONTROL_PICTURES + code)
    if code == DELETE:
        return DELETE_PICTURE
    return f"[U+{code:04X}]" if unicodedata.category(character) in HIDDEN_CATEGORIES else character
