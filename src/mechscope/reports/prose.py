"""Prose to HTML: paragraphs, lists, bold and code, and nothing else. Everything is escaped first."""

from __future__ import annotations

import re

from mechscope.reports.markup import Html, element, escape, join

__all__ = ["inline", "paragraphs"]

_MARKED = re.compile(r"`([^`\n]+)`|\*\*([^*\n]+)\*\*")


def inline(text: str) -> Html:
    """One run of text with `code` and **bold**."""
    parts: list[Html] = []
    end = 0
    for match in _MARKED.finditer(text):
        parts.append(escape(text[end : match.start()]))
        parts.append(element("code", match[1]) if match[1] is not None else element("strong", match[2]))
        end = match.end()
    return join([*parts, escape(text[end:])])


def paragraphs(text: str) -> Html:
    """Text parted by empty lines; a part whose lines all start with `- ` is a list."""
    return join([_part(part.strip()) for part in re.split(r"\n\s*\n", text) if part.strip()])


def _part(text: str) -> Html:
    lines = [line.strip() for line in text.split("\n")]
    if all(line.startswith("- ") for line in lines):
        return element("ul", *[element("li", inline(line[2:])) for line in lines])
    return element("p", inline(" ".join(lines)))
