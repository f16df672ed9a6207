"""Token policies: which tokens of a row give samples. Each policy is one file in `policies/`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np

from mechscope.core import Spec, UsageError
from mechscope.core.kinds import TOKEN_POLICIES
from mechscope.corpora.corpus import Corpus

__all__ = ["Reduction", "TokenPolicy", "kept_tokens", "read_policy"]

Reduction = Literal["each", "mean"]


class TokenPolicy(Spec):
    """Interface of a token policy: a spec whose fields are its options.

    A policy marks tokens; `reduction` says what becomes of the marked ones of a row: one sample "each", or their
    "mean" as one sample whose position is -1. A row without a marked token gives no sample and is counted.
    """

    @property
    @abstractmethod
    def how(self) -> Reduction:
        """What becomes of the marked tokens of one row."""

    @property
    def needs_special_ids(self) -> bool:
        """Whether `mask` depends on which token ids are special."""
        return bool(getattr(self, "skip_special", False))

    @abstractmethod
    def mask(self, corpus: Corpus, special_ids: frozenset[int]) -> np.ndarray:
        """The marked tokens: boolean [n_tokens], aligned with `corpus.tokens.ids`."""


def read_policy(name: str, options: dict[str, Any]) -> TokenPolicy:
    """The policy of that name with its options checked. Raises NotFoundError or UsageError."""
    cls: type[TokenPolicy] = TOKEN_POLICIES.get(name)
    return cls.parse(options, where=f"the options of token policy {name!r}")


def kept_tokens(corpus: Corpus, special_ids: frozenset[int], *, skip_special: bool, skip_first: int) -> np.ndarray:
    """Tokens left after leaving out special ones and the first few of each row: boolean [n_tokens]."""
    if skip_first < 0:
        raise UsageError(f"skip_first is {skip_first}", expected="0 or more tokens", todo="give a count")
    kept = token_offsets(corpus) >= skip_first
    if skip_special:
        kept &= ~np.isin(corpus.tokens.ids, sorted(special_ids))
    return kept


def token_offsets(corpus: Corpus) -> np.ndarray:
    """Each token's position in its row, int64 [n_tokens]."""
    tokens = corpus.tokens
    offsets: np.ndarray = np.arange(corpus.n_tokens) - np.repeat(tokens.indptr[:-1], tokens.lengths)
    return offsets
