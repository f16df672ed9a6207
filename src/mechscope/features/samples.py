"""Which tokens a sample stands for: its current token, or every token of its row when it is pooled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import BadDataError
from mechscope.corpora import Corpus, Ragged, token_positions

__all__ = ["SampleTokens", "unique_tokens"]


def unique_tokens(corpus: Corpus) -> Ragged:
    """Each row's different tokens, ascending."""
    owner = np.repeat(np.arange(corpus.n_rows, dtype=np.int64), corpus.tokens.lengths)
    keys = np.sort(owner * len(corpus.vocabulary) + corpus.tokens.ids)  # ten times as fast as `unique` on rows in order
    keys = keys[np.diff(keys, prepend=-1) > 0]
    rows, ids = np.divmod(keys, len(corpus.vocabulary))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=corpus.n_rows))])
    return Ragged(ids.astype(np.int32), indptr.astype(np.int64))


@dataclass(frozen=True, eq=False)
class SampleTokens:
    """The samples of a cache and their tokens.

    Attributes:
        row, pos: int32 [n_samples]; pos is -1 when the sample is pooled.
        tokens: different tokens of each row.
        current: int32 [n_samples], the token at the sample's position, or None when pooled.
        d_vocab: size of the vocabulary.
    """

    row: np.ndarray
    pos: np.ndarray
    tokens: Ragged
    current: np.ndarray | None
    d_vocab: int

    @classmethod
    def of(cls, corpus: Corpus, row: np.ndarray, pos: np.ndarray) -> SampleTokens:
        """Check the samples against the corpus. Raises BadDataError when a row or position is not in it."""
        is_pooled = bool(len(pos)) and bool((pos < 0).all())
        fits = len(row) == len(pos) and len(row) and row.min() >= 0 and row.max() < corpus.n_rows
        if not fits or (not is_pooled and ((pos < 0) | (pos >= corpus.tokens.lengths[row])).any()):
            raise BadDataError(
                f"{len(row)} samples do not lie in the {corpus.n_rows} rows of corpus {corpus.name!r}",
                expected="every row and position inside the corpus, or all samples pooled",
                todo="use the corpus that the activations were collected from",
            )
        current = None if is_pooled else corpus.tokens.ids[corpus.tokens.indptr[row] + pos]
        return cls(row, pos, unique_tokens(corpus), current, len(corpus.vocabulary))

    @property
    def is_pooled(self) -> bool:
        """Whether a sample stands for its whole row."""
        return self.current is None

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.row)

    def pairs(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(index into `samples`, token id) of every token of the given samples."""
        if self.current is not None:
            return np.arange(len(samples)), self.current[samples]
        rows = self.row[samples]
        lengths = self.tokens.lengths[rows]
        ids = self.tokens.ids[token_positions(self.tokens.indptr[rows], lengths)]
        return np.repeat(np.arange(len(samples)), lengths), ids

    def counts(self, samples: np.ndarray) -> np.ndarray:
        """How many of the given samples hold each token, int64 [d_vocab]."""
        return np.bincount(self.pairs(samples)[1], minlength=self.d_vocab)

    def masses(self, samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum of `weights` over the given samples that hold each token, float64 [d_vocab]."""
        owner, ids = self.pairs(samples)
        return np.bincount(ids, weights=weights[owner], minlength=self.d_vocab)

    def holds(self, samples: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
        """Which of the given samples hold at least one of the tokens, boolean [n]."""
        owner, ids = self.pairs(samples)
        held = np.zeros(len(samples), bool)
        held[owner[np.isin(ids, token_ids)]] = True
        return held
