"""Examples to HTML: tokens shaded by activation, the exact value on hover and on focus."""

from __future__ import annotations

from mechscope.reports.blocks import Example, Examples, Token
from mechscope.reports.markup import Html, element, join, show_token
from mechscope.reports.numbers import write_number

__all__ = ["examples_html"]


def examples_html(block: Examples) -> Html:
    """Rows with a small meter for the row's own value, then its tokens."""
    title = element("figcaption", block.title, class_="title") if block.title else None
    caption = element("p", block.caption, class_="caption") if block.caption else None
    full = _maximum(block)
    rows = [_example(example, block, full) for example in block.examples]
    body = element("ol", *rows) if rows else element("p", block.empty_note, class_="empty")
    return element("figure", title, body, caption, class_=f"block examples {block.form}")


def _maximum(block: Examples) -> float:
    if block.maximum is not None:
        return block.maximum
    tokens = [abs(token.value) for example in block.examples for token in example.tokens if token.value is not None]
    rows = [abs(example.value) for example in block.examples if example.value is not None]
    return max([*tokens, *rows], default=0.0)


def _example(example: Example, block: Examples, full: float) -> Html:
    head: list[Html] = []
    if example.value is not None:
        head.append(_meter(example.value, full, block.unit))
    if example.label:
        head.append(element("span", example.label, class_="label"))
    if example.details:
        head.append(element("span", example.details, class_="details"))
    peak = max((abs(token.value) for token in example.tokens if token.value is not None), default=0.0)
    token_full = full if block.token_maximum is None else block.token_maximum
    tokens = [_token(token, block, token_full, peak) for token in example.tokens]
    heading = element("div", *head, class_="head") if head else None
    return element("li", heading, element("div", join(tokens), class_="tokens"))


def _meter(value: float, full: float, unit: str) -> Html:
    bar = element("i", style=f"--level:{_level(value, full)}")
    return element(
        "span", element("span", bar, class_="bar"), write_number(value, digits=2), class_="meter", title=unit
    )


def _token(token: Token, block: Examples, full: float, peak: float) -> Html:
    shown = show_token(token.text, mark_edges=block.form == "chips" or token.text.strip(" ") == "")
    if token.value is None:
        return element("span", shown, class_="t")
    value = f"{write_number(token.value)} {block.token_unit or block.unit}"
    if not token.value:
        return element("span", shown, class_="t", title=value)
    classes = "t on" + (" negative" if token.value < 0 else "") + (" peak" if abs(token.value) == peak else "")
    style = f"--level:{_level(token.value, full)}"
    stop = 0 if abs(token.value) == peak else None  # one keyboard stop a row, not one a token
    return element("mark", shown, class_=classes, style=style, data_value=value, tabindex=stop)


def _level(value: float, full: float) -> int:
    """Shade in per cent; whatever is not zero stays visible."""
    if not full or not value:
        return 0
    return max(6, min(100, round(100 * abs(value) / full)))
