"""Policy `mean`: the mean over the tokens of a row."""

from __future__ import annotations

import numpy as np

from mechscope.activations.policy import Reduction, TokenPolicy, kept_tokens
from mechscope.core.kinds import TOKEN_POLICIES
from mechscope.corpora.corpus import Corpus

__all__ = ["MeanOfTokens"]


@TOKEN_POLICIES.register("mean")
class MeanOfTokens(TokenPolicy):
    """The mean over a row's tokens, without special ones or the first few when asked (see policy `all`)."""

    skip_special: bool = False
    skip_first: int = 0

    @property
    def how(self) -> Reduction:
        """One sample a row."""
        return "mean"

    def mask(self, corpus: Corpus, special_ids: frozenset[int]) -> np.ndarray:
        """The tokens that enter the mean."""
        return kept_tokens(corpus, special_ids, skip_special=self.skip_special, skip_first=self.skip_first)
