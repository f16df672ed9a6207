from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from mechscope.core import UsageError
from mechscope.corpora import Column, Corpus, Ragged
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.models import Batch, Edit, Model
from mechscope.models.set_transformer import SetTransformer, SetTransformerConfig
from mechscope.training import Estimate, SpliceEvaluation, SpliceSpec, evaluate_splice
from mechscope.training.splice import _recovered

D_MODEL, D_VOCAB = 16, 40
SETTINGS = SpliceSpec(batch_tokens=60, n_bootstrap=200)


@lru_cache(maxsize=1)
def language_model() -> Model:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=D_VOCAB,
        hidden_size=D_MODEL,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    return Model.open(GPTNeoXForCausalLM(config).eval())


def corpus_of(model: Model, n_rows: int, *, with_documents: bool = False) -> Corpus:
    """Rows that the model itself drew (so that damaging it raises its loss), of unequal lengths."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for length in (np.arange(n_rows) % 7 + 4).tolist():
        ids = torch.randint(0, D_VOCAB, (1, 1), generator=generator)
        while ids.shape[1] < length:
            logits = model.logits(Batch(ids, torch.ones_like(ids)))[0, -1].detach()
            ids = torch.cat([ids, torch.multinomial((30 * logits).softmax(0), 1, generator=generator)[None]], 1)
        rows.append(ids[0].numpy())
    documents = {"page": (np.arange(n_rows) // 3).astype(str)} if with_documents else {}
    return Corpus(
        name="drawn",
        kind="text",
        tokens=Ragged.from_rows(rows),
        vocabulary=tuple(f"w{i}" for i in range(D_VOCAB)),
        row_columns=documents,
        columns={name: Column(level="row", role="document") for name in documents},
    )


def identity_dictionary() -> Dictionary:
    """2 * d_in features that give every activation back: plus and minus each axis."""
    dictionary = Dictionary(DictionarySpec(architecture="relu", d_in=D_MODEL, n_features=2 * D_MODEL))
    axes = torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)])
    with torch.no_grad():
        dictionary.W_dec.copy_(axes)
        dictionary.W_enc.copy_(axes.t())
    return dictionary


def constant_dictionary(value: float) -> Dictionary:
    """No feature ever fires: every reconstruction is b_dec."""
    dictionary = Dictionary(DictionarySpec(architecture="relu", d_in=D_MODEL, n_features=4))
    with torch.no_grad():
        dictionary.b_dec.fill_(value)
    return dictionary


def test_a_perfect_dictionary_loses_nothing_and_an_empty_one_equals_zero_ablation() -> None:
    model = language_model()
    corpus = corpus_of(model, 20)
    (site,) = model.parse_sites("resid_post:0")
    rows = np.arange(20)
    perfect = evaluate_splice(identity_dictionary(), model, corpus=corpus, rows=rows, site=site, settings=SETTINGS)
    assert perfect.spliced.value == pytest.approx(perfect.clean.value, abs=1e-5)
    assert perfect.kl is not None
    assert perfect.kl.value == pytest.approx(0, abs=1e-6)
    assert perfect.zero_ablated.value > perfect.clean.value
    assert perfect.recovered_from_zero is not None
    assert perfect.recovered_from_zero.value == pytest.approx(1, abs=1e-4)
    empty = evaluate_splice(constant_dictionary(0), model, corpus=corpus, rows=rows, site=site, settings=SETTINGS)
    assert empty.spliced == empty.zero_ablated
    assert empty.recovered_from_zero is not None
    assert empty.recovered_from_zero.value == 0
    assert (empty.n_rows, empty.n_clusters) == (20, 20)
    assert empty.n_predictions == corpus.n_tokens - 20


def test_losses_equal_row_by_row_ones_and_bracket_their_intervals() -> None:
    model = language_model()
    corpus = corpus_of(model, 12, with_documents=True)
    (site,) = model.parse_sites("mlp_out:1")
    dictionary = constant_dictionary(0.3)
    rows = np.array([1, 4, 5, 9, 10])
    result = evaluate_splice(dictionary, model, corpus=corpus, rows=rows, site=site, settings=SETTINGS)
    clean, spliced, kl = [], [], []
    for row in rows:
        ids = torch.from_numpy(corpus.tokens[int(row)].astype(np.int64))[None]
        batch = Batch(ids, torch.ones_like(ids))
        before = model.logits(batch).detach()
        after = model.logits(batch, edits=[Edit(site, lambda value, _: dictionary.reconstruct(value))]).detach()
        clean.append(model.loss(batch, before))
        spliced.append(model.loss(batch, after))
        p, q = before[0, :-1].log_softmax(-1), after[0, :-1].log_softmax(-1)
        kl.append((p.exp() * (p - q)).sum(-1))
    assert result.clean.value == pytest.approx(float(torch.cat(clean).mean()), rel=1e-5)
    assert result.spliced.value == pytest.approx(float(torch.cat(spliced).mean()), rel=1e-5)
    assert result.kl is not None
    assert result.kl.value == pytest.approx(float(torch.cat(kl).mean()), rel=1e-3)
    assert result.clean.low is not None
    assert result.clean.high is not None
    assert result.clean.low < result.clean.value < result.clean.high
    assert (result.n_rows, result.clustered_by, result.n_clusters) == (5, "row", 5), "three documents are too few"
    assert result == evaluate_splice(dictionary, model, corpus=corpus, rows=rows, site=site, settings=SETTINGS)


def test_set_models_are_measured_by_their_binary_loss() -> None:
    torch.manual_seed(1)
    config = SetTransformerConfig(
        d_vocab=D_VOCAB, n_weapons=5, d_model=D_MODEL, n_layers=1, n_heads=2, d_mlp=32, n_inducing=4, pad_token_id=39
    )
    model = Model.open(SetTransformer(config).eval())
    generator = np.random.default_rng(0)
    whole = [generator.permutation(D_VOCAB - 1)[:5] for _ in range(15)]
    corpus = Corpus(
        name="sets",
        kind="set",
        tokens=Ragged.from_rows([row[:3] for row in whole]),
        vocabulary=tuple(f"t{i}" for i in range(D_VOCAB)),
        row_columns={"weapon_ids": generator.integers(0, 5, 15)},
        columns={"weapon_ids": Column(level="row", role="input")},
        targets=Ragged.from_rows(whole),
        pad_id=D_VOCAB - 1,
    )
    (site,) = model.parse_sites("pooled")
    result = evaluate_splice(
        identity_dictionary(), model, corpus=corpus, rows=np.arange(15), site=site, settings=SETTINGS
    )
    assert (result.metric, result.kl, result.n_predictions) == ("binary_cross_entropy", None, 15)
    assert result.spliced.value == pytest.approx(result.clean.value, abs=1e-6)
    mean = constant_dictionary(0)
    with torch.no_grad():
        ids = torch.from_numpy(np.stack([row[:3] for row in whole]).astype(np.int64))
        weapons = torch.from_numpy(corpus.row_columns["weapon_ids"].astype(np.int64))
        batch = Batch(ids, torch.ones_like(ids), {"weapon_ids": weapons})
        mean.b_dec.copy_(model.capture(batch, [site]).values[site].mean(0))
    again = evaluate_splice(mean, model, corpus=corpus, rows=np.arange(15), site=site, settings=SETTINGS)
    assert again.spliced.value == pytest.approx(again.mean_ablated.value, abs=1e-6)


def test_a_dictionary_of_another_width_is_refused() -> None:
    model = language_model()
    (site,) = model.parse_sites("resid_post:0")
    dictionary = Dictionary(DictionarySpec(architecture="relu", d_in=7, n_features=4))
    with pytest.raises(UsageError, match=r"\(7,\)"):
        evaluate_splice(dictionary, model, corpus=corpus_of(model, 3), rows=np.arange(3), site=site)


def measured(rows: np.ndarray, *, n_rows: int = 33) -> SpliceEvaluation:
    model = language_model()
    corpus = corpus_of(model, n_rows, with_documents=True)
    (site,) = model.parse_sites("mlp_out:1")
    return evaluate_splice(constant_dictionary(0.3), model, corpus=corpus, rows=rows, site=site, settings=SETTINGS)


def test_documents_are_resampled_when_enough_of_them_were_held_out_and_rows_otherwise() -> None:
    many, few = measured(np.arange(30)), measured(np.arange(27))
    assert (many.clustered_by, many.n_clusters) == ("document", 10)
    assert (few.clustered_by, few.n_clusters) == ("row", 27)
    of_one_document = measured(np.array([3, 4, 5]))
    assert (of_one_document.clustered_by, of_one_document.n_clusters) == ("row", 3)
    assert of_one_document.clean.low is not None
    assert of_one_document.clean.high is not None
    assert of_one_document.clean.low < of_one_document.clean.high


def test_one_row_has_values_and_no_intervals() -> None:
    result = measured(np.array([4]))
    estimates = [result.clean, result.spliced, result.zero_ablated, result.mean_ablated, result.kl]
    assert result.n_clusters == 1
    assert all(e is not None and (e.low, e.high) == (None, None) for e in estimates)
    assert result.recovered_reason


def test_a_share_keeps_its_value_when_only_some_resamples_have_no_damage() -> None:
    """Columns: clean, spliced, zero-ablated, mean-ablated, KL, predictions."""
    point = np.array([1.0, 1.5, 2.0, 0.9, 0.0, 1.0])
    whole = np.repeat(point[None], 10, 0)
    some = whole.copy()
    some[3, 2] = 0.8
    assert _recovered(point, whole, "zero_ablated") == (Estimate(value=0.5, low=0.5, high=0.5), "")
    kept, reason = _recovered(point, some, "zero_ablated")
    assert kept == Estimate(value=0.5, low=None, high=None)
    assert "no damage in 1 of 10 resamples" in reason
    assert _recovered(point, whole, "mean_ablated")[0] is None
    assert "mean ablation does no damage" in _recovered(point, whole, "mean_ablated")[1]
