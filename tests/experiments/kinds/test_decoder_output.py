"""What a feature writes: interventions against splices and closed forms, planted outputs found, random ones not."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from feature_cases import opened, set_corpus, set_model, text_corpus, text_model
from scipy.stats import spearmanr

from mechscope.activations.batching import make_batches
from mechscope.activations.policy import read_policy
from mechscope.corpora.domain_for import domain_for
from mechscope.dictionaries import Codes
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.outputs import OutputReader, agreement_of, control_directions, direct_effect
from mechscope.features import decoder_outputs
from mechscope.models.interventions import splice


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentContext]:
    with opened(set_model(), set_corpus(), "pooled", tmp_path_factory.mktemp("sets")) as inputs:
        yield ExperimentContext("builds", inputs, domain_for(inputs.corpus), model_source=inputs.model)


@pytest.fixture(scope="module", params=["all", "mean"])
def sentences(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[ExperimentContext]:
    corpus = text_corpus()
    with opened(text_model(len(corpus.vocabulary)), corpus, "resid_post:0", tmp_path_factory.mktemp("texts")) as inputs:
        policy = read_policy(request.param, {})
        yield ExperimentContext("texts", inputs, domain_for(corpus), model_source=inputs.model, policy=policy)


def run(context: ExperimentContext, feature: int, *, n_bases: int = 60, **variables: Any) -> ExperimentResult:
    spec = ExperimentSpec.parse(
        {"type": "decoder_output", "feature_id": feature, "variables": variables, "outputs": {"figures": True},
         "dataset_slice": {"sample_size": n_bases}}
    )  # fmt: skip
    result = get_runner_for_type("decoder_output").run(spec, context)
    assert result.success, result.error_message
    return result


def busiest(context: ExperimentContext) -> int:
    return int(context.inputs.store.counts().argmax())


def rows_of(result: ExperimentResult, table: str) -> Any:
    return result.tables[table].rows


def without(feature: int, codes: Codes) -> Codes:
    return codes.with_values(codes.values * (codes.features != feature))


def test_taking_a_feature_out_is_the_splice_that_sets_it_to_zero(builds: ExperimentContext) -> None:
    feature, rows = busiest(builds), np.arange(50)
    model, dictionary = builds.model, builds.inputs.dictionary
    reader = OutputReader(builds, rows, feature)
    found = reader.effects(dictionary.W_dec[feature].detach(), "ablate")
    np.testing.assert_allclose(reader.activations, builds.row_activations(feature)[rows], atol=1e-5)
    cut = splice(model.site("pooled"), dictionary, with_error=True, edit_features=lambda codes: without(feature, codes))
    for taken, batch in make_batches(builds.corpus, rows, model, 4096, with_targets=False):
        clean, edited = model.logits(batch).detach(), model.logits(batch, edits=[cut]).detach()
        np.testing.assert_allclose(found.logits[taken], (clean - edited).numpy(), atol=1e-5)
        expected = clean.sigmoid() - edited.sigmoid()
        np.testing.assert_allclose(found.probabilities[taken], expected.numpy(), atol=1e-5)


def test_tokens_are_read_where_the_feature_is_most_active(sentences: ExperimentContext) -> None:
    assert sentences.policy is not None
    feature, rows = busiest(sentences), np.arange(30)
    model, dictionary, site = sentences.model, sentences.inputs.dictionary, sentences.model.site("resid_post:0")
    reader = OutputReader(sentences, rows, feature)
    found = reader.effects(dictionary.W_dec[feature].detach(), "ablate")
    seen = sentences.activations(sentences.contexts_of(rows), feature)
    np.testing.assert_allclose(reader.activations, seen, atol=1e-5)
    for taken, batch in make_batches(sentences.corpus, rows, model, 4096, with_targets=False):
        value = model.capture(batch, [site])[site]
        for at, row in enumerate(taken):
            n = int(batch.attention_mask[at].sum())
            vectors = value[at, :n] if sentences.policy.how == "each" else value[at, :n].mean(0, keepdim=True)
            own = dictionary.encode(vectors).to_dense()[:, feature]
            read_at = int(own.argmax()) if len(own) == n and own.max() > 0 else n - 1
            read_at = 0 if len(own) == 1 and own.max() > 0 else read_at
            changed = value[at : at + 1].clone()
            changed[0, :n] -= own[:, None] * dictionary.W_dec[feature].detach()
            single = sentences.corpus.tokens.ids[slice(*sentences.corpus.tokens.indptr[row : row + 2])]
            alone = type(batch)(torch.from_numpy(single[None].astype(np.int64)), torch.ones(1, n, dtype=torch.int64))
            edit = splice(site, _Constant(changed[0, :n]))
            before, after = model.logits(alone)[0, read_at], model.logits(alone, edits=[edit])[0, read_at]
            expected = (before - before.mean()) - (after - after.mean())
            np.testing.assert_allclose(found.logits[row], expected.detach().numpy(), atol=2e-5)


class _Constant:
    """A coder that writes the same vectors whatever it reads."""

    def __init__(self, vectors: torch.Tensor) -> None:
        self.vectors = vectors

    def encode(self, x: torch.Tensor, /) -> torch.Tensor:
        assert x.shape == self.vectors.shape
        return self.vectors

    def decode(self, codes: torch.Tensor, /) -> torch.Tensor:
        return codes


def test_behind_a_linear_path_the_weights_say_it_all(builds: ExperimentContext) -> None:
    feature = busiest(builds)
    result = run(builds, feature, steer_to=0.5)
    stats = builds.inputs.store.stats(feature)
    assert stats.effective_maximum is not None
    for row in rows_of(result, "agreement"):
        assert row["pearson"] == pytest.approx(1, abs=1e-4)
        assert row["slope"] == pytest.approx(1, rel=1e-3)
        assert row["low"] <= row["pearson"] <= row["high"] + 1e-9
    for row in rows_of(result, "steered_outputs"):
        assert row["mean_delta"] == pytest.approx(0.5 * stats.effective_maximum * row["direct"], abs=1e-4)
    shown = decoder_outputs(builds.inputs, feature)
    assert [row["output"] for row in rows_of(result, "direct_outputs")] == [
        score.output for score in (*shown.promoted, *shown.suppressed)
    ]
    assert result.aggregates.custom["decoder_norm_percentile"] == pytest.approx(shown.decoder_norm_percentile)
    assert set(result.figures) == {"ablated_outputs", "steered_outputs"}


def test_a_planted_output_is_found_beyond_random_directions(builds: ExperimentContext) -> None:
    """The decoder row of a feature is made the very direction of one output."""
    feature, output = busiest(builds), 77
    W_dec = builds.inputs.dictionary.W_dec
    kept = W_dec[feature].detach().clone()
    eye = torch.eye(W_dec.shape[1])
    with torch.no_grad():
        W_dec[feature] = builds.model.output_directions(eye)[:, output] * 3
    try:
        result = run(builds, feature)
        name = builds.corpus.vocabulary[output]
        for word in ("ablated", "steered"):
            assert result.aggregates.custom[f"{word}_raised"][:1] == [name]  # type: ignore[index]
            first = rows_of(result, f"{word}_outputs")[0]
            assert (first["output"], first["verdict"]) == (name, "raised")
            assert first["control_p"] == pytest.approx(1 / 40)
            assert 0 < first["held_out_p"] < 0.05
            assert first["probability_delta"] > 0
        assert any(name in claim and "raises the logits" in claim for claim in result.claims)
    finally:
        with torch.no_grad():
            W_dec[feature] = kept


def test_random_decoder_rows_write_nothing_that_random_directions_do_not(builds: ExperimentContext) -> None:
    feature, n_claiming, n_null = busiest(builds), 0, 10
    W_dec = builds.inputs.dictionary.W_dec
    kept = W_dec[feature].detach().clone()
    generator = torch.Generator().manual_seed(19)
    try:
        for _ in range(n_null):
            with torch.no_grad():
                W_dec[feature] = torch.randn(W_dec.shape[1], generator=generator)
            n_claiming += bool(run(builds, feature, n_bases=30, methods=["ablate"], n_matched=0).claims)
    finally:
        with torch.no_grad():
            W_dec[feature] = kept
    assert n_claiming <= 2  # at 1 in 20 each, 3 or more come in 1.2 % of seeds


def test_of_many_outputs_some_are_tested_on_the_half_that_did_not_choose_them(builds: ExperimentContext) -> None:
    result = run(builds, busiest(builds), methods=["ablate"], most_outputs=20)
    rows = rows_of(result, "ablated_outputs")
    assert 10 <= len(rows) <= 20
    n_used = rows_of(result, "controls")[0]["n"]
    assert all(row["n"] < n_used for row in rows)
    assert any("move most" in reason for reason in result.diagnostics.dropped)


def test_controls_have_the_length_of_the_decoder_row(builds: ExperimentContext) -> None:
    feature, W_dec = busiest(builds), builds.inputs.dictionary.W_dec
    random, matched = control_directions(builds.inputs, feature, n_random=20, n_matched=4, seed=1)
    for direction in (*random, *matched.values()):
        assert float(direction.norm()) == pytest.approx(float(W_dec[feature].detach().norm()), rel=1e-5)
    counts = builds.inputs.store.counts()
    gaps = {other: abs(np.log1p(counts[other]) - np.log1p(counts[feature])) for other in range(len(counts))}
    others = sorted((gap, other) for other, gap in gaps.items() if other != feature and counts[other])
    assert set(matched) == {other for _, other in others[:4]}


def test_agreement_against_plain_correlations() -> None:
    generator = np.random.default_rng(23)
    direct = generator.normal(size=40)
    amounts = generator.uniform(0.5, 2, size=30)
    effects = 0.7 * amounts[:, None] * direct + generator.normal(size=(30, 40))
    held = np.arange(30) % 2 == 1
    told = agreement_of(effects, direct, amounts, np.arange(30), held, seed=0)
    assert told.pearson == pytest.approx(np.corrcoef(effects.mean(0), direct)[0, 1])
    assert told.held_out == pytest.approx(np.corrcoef(effects[held].mean(0), direct)[0, 1])
    assert told.spearman == pytest.approx(spearmanr(effects.mean(0), direct).statistic)
    assert told.slope == pytest.approx(0.7, abs=0.2)
    assert told.low < told.high


def test_sentences_have_outputs_too(sentences: ExperimentContext) -> None:
    result = run(sentences, busiest(sentences), n_bases=20, n_random=19, n_matched=2)
    direct = direct_effect(sentences.model, sentences.inputs.dictionary.W_dec[busiest(sentences)].detach())
    assert direct is not None
    assert abs(direct.mean()) < 1e-6
    methods = {str(row["method"]) for row in rows_of(result, "agreement")}
    is_active = not any("nothing to take out" in text for text in result.diagnostics.warnings)
    assert methods == ({"ablate", "steer"} if is_active else {"steer"})
    assert all(row["n_outputs"] == len(direct) for row in rows_of(result, "agreement"))
