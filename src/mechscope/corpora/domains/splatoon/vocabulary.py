"""The 140 tokens, and the two ways to write a build with them.

cumulative   a family with p points has a token for EVERY threshold up to p (12 AP: `_3`, `_6`, `_12`): what the
             game-data models use.
family       a family has ONE token, its largest threshold (12 AP: `_12`).

Both keep less than the points: 16 and 18 AP share a rung. `possible_points` gives what a token set allows, and
`is_legal_tokens` whether any legal build has exactly these tokens. Main-only abilities are one token in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from mechscope.core import BadDataError, unknown_name
from mechscope.corpora.domains.splatoon.abilities import FAMILIES, MAIN_ONLY
from mechscope.corpora.domains.splatoon.builds import Build, is_legal
from mechscope.corpora.domains.splatoon.points import (
    N_MAINS,
    N_SUBS,
    THRESHOLDS,
    points_in_bucket,
    slots_of,
    thresholds_up_to,
)

__all__ = [
    "NULL_ID",
    "NULL_TOKEN",
    "PAD_ID",
    "PAD_TOKEN",
    "TOKEN_FAMILIES",
    "VOCABULARY",
    "Encoding",
    "decode_rungs",
    "encode",
    "is_legal_tokens",
    "possible_points",
    "token_ids",
    "tokens_of",
]

Encoding = Literal["cumulative", "family"]

NULL_TOKEN, PAD_TOKEN = "<NULL>", "<PAD>"
TOKEN_FAMILIES: dict[str, tuple[str, ...]] = {
    family: tuple(f"{family}_{threshold}" for threshold in THRESHOLDS) for family in FAMILIES
}
"""Family -> its nine tokens, in rising order."""

VOCABULARY: tuple[str, ...] = (
    *(token for tokens in TOKEN_FAMILIES.values() for token in tokens),
    *MAIN_ONLY,
    NULL_TOKEN,
    PAD_TOKEN,
)
_IDS = {token: index for index, token in enumerate(VOCABULARY)}
_RUNGS = {f"{family}_{threshold}": (family, threshold) for family in FAMILIES for threshold in THRESHOLDS}
NULL_ID, PAD_ID = _IDS[NULL_TOKEN], _IDS[PAD_TOKEN]


def encode(build: Build, encoding: Encoding = "cumulative") -> tuple[str, ...]:
    """The tokens of a build in vocabulary order; a build without any ability is `<NULL>`."""
    tokens: list[str] = []
    for family, points in build.points.items():
        reached = thresholds_up_to(points)
        tokens += [f"{family}_{threshold}" for threshold in (reached if encoding == "cumulative" else reached[-1:])]
    tokens += [name for name in MAIN_ONLY if name in build.main_only]
    return tuple(tokens) or (NULL_TOKEN,)


def token_ids(tokens: Iterable[str]) -> list[int]:
    """Ids of tokens. Raises NotFoundError with the nearest token."""
    ids = []
    for token in tokens:
        if token not in _IDS:
            raise unknown_name("ability token", token, VOCABULARY)
        ids.append(_IDS[token])
    return ids


def tokens_of(ids: Iterable[int]) -> tuple[str, ...]:
    """Tokens of ids in 0..139."""
    return tuple(VOCABULARY[index] for index in ids)


def decode_rungs(tokens: Iterable[str], encoding: Encoding = "cumulative") -> tuple[dict[str, int], frozenset[str]]:
    """Family -> largest threshold, and the main-only abilities. `<NULL>` and `<PAD>` say nothing.

    Raises:
        NotFoundError: an unknown token.
        BadDataError: a token set that the encoding never writes (a gap below a rung, or two rungs of a family).
    """
    seen: dict[str, set[int]] = {}
    main_only: set[str] = set()
    for token in tokens:
        token_ids([token])
        if token in _RUNGS:
            family, threshold = _RUNGS[token]
            seen.setdefault(family, set()).add(threshold)
        elif token in MAIN_ONLY:
            main_only.add(token)
    rungs = {family: max(seen[family]) for family in FAMILIES if family in seen}
    for family, largest in rungs.items():
        wanted = set(thresholds_up_to(largest)) if encoding == "cumulative" else {largest}
        if seen[family] != wanted:
            raise BadDataError(
                f"{family} has the tokens {sorted(seen[family])}",
                expected=f"{sorted(wanted)} in the {encoding} encoding",
                todo="add or remove tokens, or name the other encoding",
            )
    return rungs, frozenset(main_only)


def possible_points(rungs: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Family -> every number of points that its rung allows (rung 0 or absent: 0 alone)."""
    return {family: points_in_bucket(rungs.get(family, 0)) for family in FAMILIES}


def is_legal_tokens(tokens: Iterable[str], encoding: Encoding = "cumulative", *, complete: bool = True) -> bool:
    """Whether some legal build has exactly these tokens.

    Walks the families once and keeps every pair (mains, subs) that can be filled so far: at most 40 pairs.
    """
    try:
        rungs, main_only = decode_rungs(tokens, encoding)
    except BadDataError:
        return False
    if not is_legal(Build({}, main_only), complete=False):
        return False
    reachable = {(len(main_only), 0)}
    for largest in rungs.values():
        options = [slots_of(points) for points in points_in_bucket(largest)]
        reachable = {
            (mains + option.mains, subs + option.subs)
            for mains, subs in reachable
            for option in options
            if mains + option.mains <= N_MAINS and subs + option.subs <= N_SUBS
        }
    return (N_MAINS, N_SUBS) in reachable if complete else bool(reachable)
