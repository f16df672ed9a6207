"""How rows of builds write a family's rung: with every lower rung beside it, or alone. Read from the rows themselves.

A family in a row speaks when its highest token is not the lowest rung of the vocabulary: all lower rungs beside it
speak for "cumulative", none for "family", some for neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mechscope.core import BadDataError, UsageError
from mechscope.corpora.domains.splatoon.vocabulary import TOKEN_FAMILIES, Encoding

__all__ = ["encoding_of_rows", "family_ids"]

SHARE_NEEDED = 0.99
"""Share of the families that speak which must say the same: a damaged row does not turn a corpus over."""


def family_ids(token_ids: Mapping[str, int]) -> dict[str, list[int]]:
    """Family -> the ids of the tokens that a vocabulary has for it, in rising order of the rung."""
    found = {
        family: [token_ids[token] for token in tokens if token in token_ids]
        for family, tokens in TOKEN_FAMILIES.items()
    }
    return {family: ids for family, ids in found.items() if ids}


def encoding_of_rows(
    indptr: np.ndarray, ids: np.ndarray, families: Mapping[str, Sequence[int]], *, name: str
) -> Encoding:
    """The encoding of rows of tokens.

    Args:
        indptr, ids: rows one after the other, int64 [n_rows + 1] and [n_tokens]; a token at most once a row.
        families: family -> its token ids in rising order of the rung.
        name: of the corpus, for messages.

    Raises:
        UsageError: no family stands above its lowest rung, so that both encodings look the same.
        BadDataError: rows that contradict each other.

    Cost: one pass over the tokens for each family.
    """
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    n_whole, n_alone, n_gaps = 0, 0, 0
    for tokens in families.values():
        place = np.full(int(max(ids.max(initial=0), *tokens)) + 1, -1)
        place[list(tokens)] = np.arange(len(tokens))
        at = place[ids]
        inside = at >= 0
        held = np.bincount(row[inside], minlength=len(indptr) - 1)
        highest = np.full(len(indptr) - 1, -1)
        np.maximum.at(highest, row[inside], at[inside])
        speaks = highest > 0
        n_whole += int((held[speaks] == highest[speaks] + 1).sum())
        n_alone += int((held[speaks] == 1).sum())
        n_gaps += int(((held > 1) & (held < highest + 1))[speaks].sum())
    n = n_whole + n_alone + n_gaps
    if all(len(tokens) == 1 for tokens in families.values()):
        return "cumulative"  # a single rung is written the same either way
    if not n:
        raise UsageError(
            f"the rows of {name!r} do not tell their encoding: no family stands above its lowest rung",
            expected='"cumulative" (a token for every rung reached) or "family" (one token a family)',
            todo="state it as `encoding` when the corpus is made",
        )
    if n_whole >= SHARE_NEEDED * n:
        return "cumulative"
    if n_alone >= SHARE_NEEDED * n:
        return "family"
    raise BadDataError(
        f"the rows of {name!r} contradict each other: of {n:,} families above their lowest rung {n_whole:,} have all "
        f"lower rungs beside them, {n_alone:,} stand alone, {n_gaps:,} have some",
        expected=f"one encoding in {100 * SHARE_NEEDED:g} % of them",
        todo="tokenise all rows alike, or state the encoding as `encoding` when the corpus is made",
    )
