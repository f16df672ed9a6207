"""Policy `index`: the token at one position of a row."""

from __future__ import annotations

import numpy as np

from mechscope.activations.policy import Reduction, TokenPolicy
from mechscope.core.kinds import TOKEN_POLICIES
from mechscope.corpora.corpus import Corpus

__all__ = ["IndexToken"]


@TOKEN_POLICIES.register("index")
class IndexToken(TokenPolicy):
    """The token at position `index`: 0 is the first of the row, -1 the last. Shorter rows give no sample."""

    index: int

    @property
    def how(self) -> Reduction:
        """At most one token is marked in a row."""
        return "each"

    def mask(self, corpus: Corpus, special_ids: frozenset[int]) -> np.ndarray:
        """That token of each row that is long enough."""
        del special_ids
        tokens = corpus.tokens
        at = self.index + (tokens.indptr[:-1] if self.index >= 0 else tokens.indptr[1:])
        inside = (at >= tokens.indptr[:-1]) & (at < tokens.indptr[1:])
        marked = np.zeros(corpus.n_tokens, dtype=bool)
        marked[at[inside]] = True
        return marked
