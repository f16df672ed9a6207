"""How good the `pydocs` model is on held-out modules, beside what counting trigrams gives on the same tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from mechscope.core import Spec, numpy_generator
from mechscope.corpora.ngrams import TrigramModel
from mechscope.subjects.language_models import causal_losses

__all__ = ["SPLITS", "LossEstimate", "PydocsScores", "SplitRows", "SplitSize", "headline", "score_pydocs_model"]

SPLITS = ("train", "valid", "test")
N_RESAMPLES = 2000
INTERVAL = (0.025, 0.975)


class SplitSize(Spec):
    """Documents, rows and tokens (special ones counted) of one split."""

    n_documents: int
    n_rows: int
    n_tokens: int


class LossEstimate(Spec):
    """A mean in nats a token with its 95 % percentile interval: a bootstrap that draws whole documents."""

    nats_per_token: float
    low: float
    high: float
    n_resamples: int


class PydocsScores(Spec):
    """Cross entropy a token on the documents of the test modules; the first token of each row is given.

    trigram: interpolated Kneser-Ney, counted on the training tokens of the model.
    trigram_minus_model: the paired difference on the same tokens and the same draws of documents.
    """

    n_documents: int
    n_tokens: int
    model: LossEstimate
    trigram: LossEstimate
    trigram_minus_model: LossEstimate


@dataclass(frozen=True, eq=False)
class SplitRows:
    """Rows of token ids: split -> document name -> its blocks."""

    by_split: dict[str, dict[str, list[np.ndarray]]]
    block_length: int
    pad_id: int
    d_vocab: int

    def of(self, split: str) -> list[np.ndarray]:
        """All rows of a split."""
        return [row for rows in self.by_split[split].values() for row in rows]

    def padded(self, split: str) -> Int[Tensor, "n pos"]:
        """All rows of a split, padded on the right, int32."""
        return _padded(self.of(split), self)

    def sizes(self) -> dict[str, SplitSize]:
        """The size of each split."""
        return {
            split: SplitSize(
                n_documents=len(self.by_split[split]),
                n_rows=len(self.of(split)),
                n_tokens=sum(map(len, self.of(split))),
            )
            for split in self.by_split
        }


def score_pydocs_model(model: GPTNeoXForCausalLM, rows: SplitRows, *, seed: int) -> PydocsScores:
    """Held-out loss of the model and of the trigram model. One forward pass over the test rows."""
    trigram = TrigramModel.fit(rows.of("train"), rows.d_vocab)

    def of_model(document: list[np.ndarray]) -> np.ndarray:
        losses = causal_losses(model, _padded(document, rows))
        kept: np.ndarray = losses[~losses.isnan()].double().numpy()
        return kept

    def of_trigram(document: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([trigram.losses(row) for row in document])

    by_model, by_trigram = (_sums(rows, of) for of in (of_model, of_trigram))
    difference = np.column_stack([by_trigram[:, 0] - by_model[:, 0], by_model[:, 1]])
    return PydocsScores(
        n_documents=len(by_model),
        n_tokens=int(by_model[:, 1].sum()),
        model=_estimate(by_model, seed),
        trigram=_estimate(by_trigram, seed),
        trigram_minus_model=_estimate(difference, seed),
    )


def headline(scores: PydocsScores) -> str:
    """One line: held-out loss of the model beside the trigram model's."""
    model, trigram = scores.model, scores.trigram
    return (
        f"held-out loss {model.nats_per_token:.3f} nats a token [{model.low:.3f}, {model.high:.3f}] against "
        f"{trigram.nats_per_token:.3f} [{trigram.low:.3f}, {trigram.high:.3f}] of a Kneser-Ney trigram model "
        f"(n={scores.n_tokens:,} tokens of {scores.n_documents} documents)"
    )


def _padded(rows: list[np.ndarray], shape: SplitRows) -> Int[Tensor, "n pos"]:
    ids = np.full((len(rows), shape.block_length), shape.pad_id, dtype=np.int32)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return torch.from_numpy(ids)


def _sums(rows: SplitRows, losses: Callable[[list[np.ndarray]], np.ndarray]) -> np.ndarray:
    """Summed loss and number of tokens of each test document, float64 [n_documents 2]."""
    found = [losses(document) for document in rows.by_split["test"].values() if document]
    return np.array([(values.sum(), len(values)) for values in found], dtype=np.float64)


def _estimate(sums: np.ndarray, seed: int) -> LossEstimate:
    draws = numpy_generator(seed, "pydocs", "bootstrap").integers(0, len(sums), (N_RESAMPLES, len(sums)))
    totals = sums[draws].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], INTERVAL)
    mean = sums[:, 0].sum() / sums[:, 1].sum()
    return LossEstimate(nats_per_token=float(mean), low=float(low), high=float(high), n_resamples=N_RESAMPLES)
