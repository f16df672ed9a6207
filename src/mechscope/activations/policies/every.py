"""Policy `all`: one sample a token."""

from __future__ import annotations

import numpy as np

from mechscope.activations.policy import Reduction, TokenPolicy, kept_tokens
from mechscope.core.kinds import TOKEN_POLICIES
from mechscope.corpora.corpus import Corpus

__all__ = ["AllTokens"]


@TOKEN_POLICIES.register("all")
class AllTokens(TokenPolicy):
    """Every token of a row.

    skip_special: leave out the tokenizer's special tokens and the padding id.
    skip_first: leave out so many tokens at the start of each row (the first position of many language models carries
        an outlier norm that a dictionary would otherwise spend its features on).
    """

    skip_special: bool = False
    skip_first: int = 0

    @property
    def how(self) -> Reduction:
        """One sample for each marked token."""
        return "each"

    def mask(self, corpus: Corpus, special_ids: frozenset[int]) -> np.ndarray:
        """All tokens but the skipped ones."""
        return kept_tokens(corpus, special_ids, skip_special=self.skip_special, skip_first=self.skip_first)
