import numpy as np
import pytest
import torch
from activation_cases import D_VOCAB, N_POSITIONS, language_model, set_corpus, set_model, text_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.activations import make_batches
from mechscope.core import BadDataError, UsageError
from mechscope.corpora.corpus import Corpus, Ragged


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(0, 1000), st.integers(1, 60))
def test_every_row_comes_once_with_its_own_tokens_within_the_budget(budget: int, seed: int, n_rows: int) -> None:
    corpus, model = text_corpus(n_rows, seed), language_model()
    rows = np.random.default_rng(seed).permutation(n_rows)
    seen = []
    for batch_rows, batch in make_batches(corpus, rows, model, budget):
        assert batch.input_ids.shape == batch.attention_mask.shape
        assert batch.input_ids.numel() <= budget or len(batch_rows) == 1
        for row, ids, mask in zip(batch_rows, batch.input_ids, batch.attention_mask, strict=True):
            n = len(corpus.tokens[row])
            assert ids[:n].tolist() == corpus.tokens[row].tolist()
            assert mask.tolist() == [1] * n + [0] * (len(mask) - n)
            assert not ids[n:].any()
        seen += batch_rows.tolist()
    assert sorted(seen) == list(range(n_rows))


def test_sorting_saves_padding() -> None:
    corpus, model = text_corpus(400), language_model()
    n_places = sum(batch.input_ids.numel() for _, batch in make_batches(corpus, np.arange(400), model, 256))
    unsorted = 0
    for start in range(0, 400, 16):
        unsorted += 16 * int(corpus.tokens.lengths[start : start + 16].max())
    assert n_places < 1.15 * corpus.n_tokens
    assert unsorted > 1.5 * corpus.n_tokens


def test_set_rows_bring_their_inputs_and_multi_hot_targets() -> None:
    corpus, model = set_corpus(), set_model()
    for rows, batch in make_batches(corpus, np.arange(corpus.n_rows), model, 50):
        assert batch.extra.keys() == {"weapon_ids"}
        assert batch.extra["weapon_ids"].tolist() == corpus.row_columns["weapon_ids"][rows].tolist()
        assert batch.input_ids[batch.attention_mask == 0].tolist() == [D_VOCAB - 1] * int(
            (1 - batch.attention_mask).sum()
        )
        assert batch.targets is not None
        assert corpus.targets is not None
        for row, target in zip(rows, batch.targets, strict=True):
            assert target.nonzero().flatten().tolist() == sorted(corpus.targets[row].tolist())
    assert next(make_batches(corpus, np.arange(3), model, 50, with_targets=False))[1].targets is None


def test_rows_that_the_model_cannot_run_are_named() -> None:
    model = language_model()
    long = text_corpus(8, longest=N_POSITIONS + 9, shortest=N_POSITIONS - 2)
    with pytest.raises(BadDataError, match=r"row \d of corpus 'tiny' has \d+ tokens \(\d rows are too long\)"):
        next(make_batches(long, np.arange(8), model, 64))
    vocabulary = tuple(f"w{i}" for i in range(D_VOCAB + 5))
    wide = Corpus("wide", "text", Ragged.from_rows([[1], [], [D_VOCAB + 2]]), vocabulary)
    with pytest.raises(BadDataError, match="row 1 of corpus 'wide' has no token"):
        next(make_batches(wide, np.arange(2), model, 64))
    with pytest.raises(BadDataError, match=f"token id {D_VOCAB + 2}"):
        next(make_batches(wide, np.array([0, 2]), model, 64))
    assert torch.equal(next(make_batches(wide, np.array([0]), model, 64))[1].input_ids, torch.tensor([[1]]))
    with pytest.raises(UsageError, match="batch_tokens is 0"):
        next(make_batches(wide, np.array([0]), model, 0))
