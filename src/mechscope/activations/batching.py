"""Rows of a corpus to padded batches of a model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import BadDataError, UsageError
from mechscope.corpora.corpus import Corpus, Ragged, token_positions
from mechscope.models.batch import Batch
from mechscope.models.model import Model

__all__ = ["WINDOW_BATCHES", "check_rows", "make_batches"]

WINDOW_BATCHES = 8


def make_batches(
    corpus: Corpus, rows: np.ndarray, model: Model, batch_tokens: int, with_targets: bool = True
) -> Iterator[tuple[np.ndarray, Batch]]:
    """The given rows as right-padded batches of about `batch_tokens` tokens, padding included.

    Rows are sorted by length (stable) inside windows of about 8 batches, so that little is padded; the row numbers
    that come with a batch say whose rows they are. The same arguments give the same batches.

    Args:
        corpus: where the rows come from. Row columns of role "input" go to `Batch.extra` under their name.
        rows: row numbers, int64 [n]; each must hold at least one token.
        model: gives the device, the longest row it takes, and the size of its vocabulary.
        batch_tokens: padded tokens a batch, at least 1; a longer row makes a batch of its own.
        with_targets: build the multi-hot targets of a set corpus too, [batch d_vocab] float32.

    Raises:
        UsageError: `batch_tokens` below 1.
        BadDataError: an empty row, a row longer than the model takes, or a token id that the model does not have.
    """
    if batch_tokens < 1:
        raise UsageError(f"batch_tokens is {batch_tokens}", expected="1 or more", todo="for example 4096")
    rows = np.asarray(rows, dtype=np.int64)
    lengths = corpus.tokens.lengths[rows]
    check_rows(corpus, rows, model)
    for window in _windows(lengths, WINDOW_BATCHES * batch_tokens):
        order = window[np.argsort(lengths[window], kind="stable")]
        for part in _parts(lengths[order], batch_tokens):
            chosen = rows[order[part]]
            yield chosen, _make_batch(corpus, chosen, model, with_targets=with_targets)


def check_rows(corpus: Corpus, rows: np.ndarray, model: Model) -> None:
    """Refuse rows that the model cannot run: empty, too long, or with token ids outside its vocabulary."""
    lengths = corpus.tokens.lengths[rows]
    if len(lengths) and lengths.min() == 0:
        raise BadDataError(
            f"row {rows[lengths.argmin()]} of corpus {corpus.name!r} has no token",
            expected="rows with at least one token",
            todo="leave empty rows out",
        )
    longest = model.max_positions
    if longest is not None and len(lengths) and lengths.max() > longest:
        n_long = int((lengths > longest).sum())
        raise BadDataError(
            f"row {rows[lengths.argmax()]} of corpus {corpus.name!r} has {lengths.max():,} tokens"
            f" ({n_long:,} rows are too long)",
            expected=f"at most {longest:,} tokens, the positions of model {model.name!r}",
            todo="cut the text into shorter blocks, or collect with cut_long_rows",
        )
    # the corpus itself has checked its ids against its own vocabulary
    if (
        len(corpus.vocabulary) > model.d_vocab
        and (highest := int(corpus.tokens.select(rows).ids.max())) >= model.d_vocab
    ):
        raise BadDataError(
            f"corpus {corpus.name!r} holds token id {highest}",
            expected=f"ids below {model.d_vocab}, the vocabulary of model {model.name!r}",
            todo="tokenise the corpus with the model's own tokenizer",
        )


def _windows(lengths: np.ndarray, window_tokens: int) -> Iterator[np.ndarray]:
    before = np.cumsum(lengths) - lengths
    cuts = np.flatnonzero(np.diff(before // window_tokens)) + 1
    yield from (part for part in np.split(np.arange(len(lengths)), cuts) if len(part))


def _parts(lengths: np.ndarray, batch_tokens: int) -> Iterator[slice]:
    """Cuts of ascending lengths so that rows x longest stays within the budget."""
    start = 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or (stop + 1 - start) * int(lengths[stop]) > batch_tokens:
            yield slice(start, stop)
            start = stop


def _make_batch(corpus: Corpus, rows: np.ndarray, model: Model, *, with_targets: bool) -> Batch:
    lengths = corpus.tokens.lengths[rows]
    ids = np.full((len(rows), int(lengths.max())), corpus.pad_id or 0, dtype=np.int64)
    mask = np.arange(ids.shape[1])[None, :] < lengths[:, None]
    ids[mask] = corpus.tokens.ids[token_positions(corpus.tokens.indptr[rows], lengths)]
    inputs = {name: corpus.row_columns[name][rows] for name in corpus.names_with_role("input", "row")}
    targets = corpus.targets if with_targets else None
    return Batch(
        input_ids=torch.from_numpy(ids).to(model.device),
        attention_mask=torch.from_numpy(mask.astype(np.int64)).to(model.device),
        extra={name: torch.from_numpy(values.astype(np.int64)).to(model.device) for name, values in inputs.items()},
        targets=None if targets is None else _multi_hot(targets, rows, model.d_vocab).to(model.device),
    )


def _multi_hot(targets: Ragged, rows: np.ndarray, d_vocab: int) -> Float[Tensor, "batch d_vocab"]:
    lengths = targets.lengths[rows]
    ids = targets.ids[token_positions(targets.indptr[rows], lengths)]
    hot = torch.zeros(len(rows), d_vocab)
    hot[np.repeat(np.arange(len(rows)), lengths), torch.from_numpy(ids.astype(np.int64))] = 1.0
    return hot
