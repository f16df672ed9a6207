"""Policy `span`: the tokens that a token column marks."""

from __future__ import annotations

import numpy as np

from mechscope.activations.policy import Reduction, TokenPolicy
from mechscope.core import UsageError, unknown_name
from mechscope.core.kinds import TOKEN_POLICIES
from mechscope.corpora.corpus import Corpus

__all__ = ["SpanTokens"]


@TOKEN_POLICIES.register("span")
class SpanTokens(TokenPolicy):
    """The tokens where a boolean or integer token column of the corpus says so.

    column: name of the token column.
    value: mark the tokens that hold this integer; by default those that hold true or any non-zero number.
    reduction: one sample for "each" marked token, or the "mean" of a row's marked tokens as one sample.
    """

    column: str
    value: int | None = None
    reduction: Reduction = "each"

    @property
    def how(self) -> Reduction:
        """As the option says."""
        return self.reduction

    def mask(self, corpus: Corpus, special_ids: frozenset[int]) -> np.ndarray:
        """The tokens whose column holds the value. Raises NotFoundError or UsageError for an unfit column."""
        del special_ids
        if self.column not in corpus.token_columns:
            raise unknown_name("token column", self.column, corpus.token_columns)
        values = corpus.token_columns[self.column]
        if values.dtype.kind not in "bui":
            raise UsageError(
                f"token column {self.column!r} holds {values.dtype}",
                expected="booleans or integers",
                todo="name a column that marks tokens",
            )
        marked: np.ndarray = values != 0 if self.value is None else values == self.value
        return marked
