"""Contexts in words and back: "Splattershot: QR 12, SCU 3, comeback"."""

from __future__ import annotations

from collections.abc import Sequence

from mechscope.core import unknown_name
from mechscope.corpora.domains.splatoon.coding import State, TokenCoding

__all__ = ["NOTHING", "parse_tokens", "split_weapon", "state_words"]

NOTHING = "nothing"


def state_words(state: State, coding: TokenCoding) -> str:
    """Families by short name with their rungs, then main-only abilities; "nothing" for an empty build."""
    parts = [
        f"{family.short_name} {rung}"
        for family, rung in zip(coding.families.values(), state.rungs, strict=True)
        if rung
    ]
    parts += [name for name in coding.main_only if state.main_only & coding.bit[name]]
    return ", ".join(parts) or NOTHING


def split_weapon(text: str, weapons: Sequence[str]) -> tuple[str, str]:
    """The weapon before a colon ("" without one) and the rest. Raises NotFoundError with the nearest weapon."""
    before, colon, rest = text.partition(":")
    if not colon:
        return "", text
    by_folded = {name.lower(): name for name in weapons}
    if before.strip().lower() not in by_folded:
        raise unknown_name("weapon", before.strip(), weapons)
    return by_folded[before.strip().lower()], rest


def parse_tokens(words: Sequence[str], coding: TokenCoding) -> tuple[int, ...]:
    """The token ids, in rising order, of words such as `QR 12`, `comeback` and `quick_respawn_3`.

    "QR 12" brings what the encoding brings; a token stands for itself alone. `nothing` and no word at all are `<NULL>`.
    Raises NotFoundError for an unknown word, and UsageError for a rung without a token.
    """
    by_name = {name.lower(): f for f in coding.families.values() for name in (f.name, f.short_name)}
    by_token = {token.lower(): index for token, index in coding.ids.items()}
    found: list[int] = []
    at = 0
    while at < len(words):
        word = words[at].lower()
        after = words[at + 1] if at + 1 < len(words) else ""
        at += 1
        if word in by_name and after.isdecimal():
            family, at = by_name[word], at + 1
            if family.require_rung(int(after)):
                found += family.tokens[family.rungs.index(int(after))]
        elif word in by_token:
            found.append(by_token[word])
        elif after.isdecimal():
            raise unknown_name("ability family", words[at - 1], [f.short_name for f in coding.families.values()])
        elif word != NOTHING:
            raise unknown_name("ability", words[at - 1], coding.vocabulary)
    empty = () if coding.null_id is None else (coding.null_id,)
    return tuple(sorted(set(found))) or empty
