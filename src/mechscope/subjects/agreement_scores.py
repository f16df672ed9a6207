"""How well a language model knows the agreement language: agreement, names that come again, held-out loss.

Every share comes with its n and its Wilson interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from mechscope.core import Spec
from mechscope.corpora.corpus import Corpus
from mechscope.corpora.domains.agreement import PAD_ID, AgreementItem, AgreementTaskSpec, agreement_items
from mechscope.corpora.domains.agreement.lexicon import HeldOut
from mechscope.stats import share_interval
from mechscope.subjects.language_models import causal_losses

__all__ = [
    "AgreementScore",
    "AgreementScores",
    "Share",
    "agreement_correct",
    "score_agreement",
    "score_agreement_model",
]

BATCH_SIZE = 256


class Share(Spec):
    """`n_right` of `n`, with the 95 % Wilson interval from `low` to `high`."""

    n: int
    n_right: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, right: Sequence[bool] | np.ndarray) -> Share:
        """From one truth value a trial; at least one."""
        n, n_right = len(right), int(np.sum(right))
        found = share_interval(n_right, n)
        return cls(n=n, n_right=n_right, share=found.value, low=found.low, high=found.high)


class AgreementScore(Spec):
    """P(correct verb form) > P(incorrect one), by number of distractors ("0" to "3") and over all.

    The two members of a minimal pair count as two trials, though they share their sentence.
    """

    heads: HeldOut
    distractors: Literal["random", "same", "other"]
    overall: Share
    by_n_distractors: dict[str, Share]


class AgreementScores(Spec):
    """All scores of one model. Losses in nats a token.

    Attributes:
        agreement: for each kind of head noun, with distractors of random and of the other number.
        surname_repeated: the likeliest token after a repeated given name is its surname; over the test rows.
        test_loss: mean over the tokens of the test rows.
        test_loss_standard_error: of that mean, rows taken as independent and tokens of one row as not.
        n_test_rows: rows of the split "test".
    """

    agreement: list[AgreementScore]
    surname_repeated: Share | None
    test_loss: float
    test_loss_standard_error: float
    n_test_rows: int


def score_agreement_model(model: GPTNeoXForCausalLM, corpus: Corpus, *, n_pairs: int, seed: int) -> AgreementScores:
    """Every score: agreement on fresh minimal pairs, the rest on the rows of the split "test"."""
    kinds: tuple[HeldOut, ...] = ("no", "bare", "relative")
    settings: tuple[Literal["random", "other"], ...] = ("random", "other")
    tasks = [
        AgreementTaskSpec(n_pairs=n_pairs, heads=heads, distractors=distractors, seed=seed)
        for heads in kinds
        for distractors in settings
    ]
    test = corpus.select(np.flatnonzero(corpus.column("split") == "test"))
    loss, standard_error = _loss_by_rows(model, test)
    return AgreementScores(
        agreement=[score_agreement(model, task) for task in tasks],
        surname_repeated=_surnames(model, test),
        test_loss=loss,
        test_loss_standard_error=standard_error,
        n_test_rows=test.n_rows,
    )


def score_agreement(model: GPTNeoXForCausalLM, task: AgreementTaskSpec) -> AgreementScore:
    """Agreement accuracy on the items of `task`."""
    items = agreement_items(task)
    right = agreement_correct(model, items).numpy()
    n_distractors = np.array([item.n_distractors for item in items])
    by_number = {str(n): Share.of(right[n_distractors == n]) for n in np.unique(n_distractors)}
    return AgreementScore(
        heads=task.heads, distractors=task.distractors, overall=Share.of(right), by_n_distractors=by_number
    )


@torch.no_grad()
def agreement_correct(model: GPTNeoXForCausalLM, items: Sequence[AgreementItem]) -> Bool[Tensor, " n"]:
    """Whether the model puts the correct verb form above the incorrect one, for each item."""
    right = []
    for start in range(0, len(items), BATCH_SIZE):
        part = items[start : start + BATCH_SIZE]
        ids = _padded([item.ids for item in part])
        last = torch.tensor([len(item.ids) - 1 for item in part])
        logits = model(input_ids=ids, use_cache=False).logits[torch.arange(len(part)), last]
        forms = logits.gather(1, torch.tensor([[item.correct_id, item.incorrect_id] for item in part]))
        right.append(forms[:, 0] > forms[:, 1])
    return torch.cat(right)


def _padded(rows: Sequence[Sequence[int] | np.ndarray]) -> Int[Tensor, "n pos"]:
    ids = torch.full((len(rows), max(map(len, rows))), PAD_ID)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.as_tensor(row)
    return ids


def _loss_by_rows(model: GPTNeoXForCausalLM, test: Corpus) -> tuple[float, float]:
    losses = causal_losses(model, _padded([test.tokens[row] for row in range(test.n_rows)])).double()
    counts = losses.isfinite().sum(1)
    mean = losses.nansum() / counts.sum()
    off = losses.nansum(1) - mean * counts
    return float(mean), float(off.square().sum().sqrt() / counts.sum())


@torch.no_grad()
def _surnames(model: GPTNeoXForCausalLM, test: Corpus) -> Share | None:
    repeated = test.column("induction") == "repeat"
    right: list[bool] = []
    for start in range(0, test.n_rows, BATCH_SIZE):
        rows = range(start, min(start + BATCH_SIZE, test.n_rows))
        guesses = model(input_ids=_padded([test.tokens[row] for row in rows]), use_cache=False).logits.argmax(-1)
        for index, row in enumerate(rows):
            at = np.flatnonzero(repeated[test.tokens.indptr[row] : test.tokens.indptr[row + 1]])
            right += [int(guesses[index, i]) == int(test.tokens[row][i + 1]) for i in at]
    return Share.of(right) if right else None
