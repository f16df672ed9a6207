"""What a domain calls its groups, rows and tokens, where a sentence is written in the words of builds."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mechscope.corpora.domain import Domain

__all__ = ["group_word", "in_words_of"]

WEAPON = "weapon"
TURNED = (
    (r"\bits kit \(sub, special, or another (attribute that it shares with others)\)", r"an \1"),
    (r" \(or (?:other |another )?groups?\)", ""),
    (r"\bother weapons\b", "another weapon"),
    (r"\bplayers who take\b", "rows that have"),
    (r"\bits players tend to take\b", "its rows tend to have"),
    (r"\bplayers\b", "rows"),
    (r"\btend to take\b", "tend to have"),
    (r"\btend to build alike\b", "tend to be alike"),
    (r"\babilities\b", "tokens"),
    (r"\bthe build\b", "the row"),
)


def group_word(domain: Domain) -> str:
    """The name of the group that a domain is about: what attributes describe, what can be set, or any; else "group"."""
    return domain.attribute_group or next(iter((*domain.settable_groups, *domain.groups)), "group")


def in_words_of(domain: Domain, texts: Iterable[str]) -> tuple[str, ...]:
    """Sentences about weapons, players and abilities, as they are where the domain has weapons, else in its own words:
    its group by name, rows and tokens.

    >>> from mechscope.corpora.domains.splatoon.domain import SplatoonDomain
    >>> in_words_of(SplatoonDomain(), ["players who take it have a weapon"])
    ('players who take it have a weapon',)
    """
    if WEAPON in domain.groups:
        return tuple(texts)
    found = []
    for text in texts:
        for pattern, word in TURNED:
            text = re.sub(pattern, word, text)
        found.append(re.sub(rf"\b{WEAPON}\b", group_word(domain), text))
    return tuple(found)
