"""Policy `last`: the last token of a row."""

from __future__ import annotations

import numpy as np

from mechscope.activations.policy import Reduction, TokenPolicy, kept_tokens
from mechscope.core.kinds import TOKEN_POLICIES
from mechscope.corpora.corpus import Corpus

__all__ = ["LastToken"]


@TOKEN_POLICIES.register("last")
class LastToken(TokenPolicy):
    """The last token of a row; with `skip_special`, the last one that is not special."""

    skip_special: bool = False

    @property
    def how(self) -> Reduction:
        """At most one token is marked in a row."""
        return "each"

    def mask(self, corpus: Corpus, special_ids: frozenset[int]) -> np.ndarray:
        """The last kept token of each row."""
        kept = kept_tokens(corpus, special_ids, skip_special=self.skip_special, skip_first=0)
        at = np.flatnonzero(kept)
        # the last kept token of a row is the one just before the first kept token of any later row
        index = np.searchsorted(at, corpus.tokens.indptr[1:], side="left") - 1
        has_one = (index >= 0) & (at[np.maximum(index, 0)] >= corpus.tokens.indptr[:-1]) if len(at) else index > 0
        marked = np.zeros(corpus.n_tokens, dtype=bool)
        marked[at[index[has_one]]] = True
        return marked
