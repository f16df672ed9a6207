"""Decoder outputs against the model's own unembedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from feature_cases import opened

from mechscope.core import NotFoundError
from mechscope.features.build import build_features
from mechscope.features.decoder import decoder_outputs, is_last_site, percentile_of
from mechscope.features.inputs import FeatureInputs


def test_promoted_outputs_of_a_pooled_site_are_exact(set_inputs: FeatureInputs) -> None:
    """Behind the masked mean only the output layer is left: adding the row must move the logits by just that."""
    assert set_inputs.model is not None
    row = set_inputs.dictionary.W_dec.detach()[3]
    effects = (set_inputs.model.module.get_parameter("output.weight") @ row).detach()
    seen = decoder_outputs(set_inputs, 3, n_outputs=7)
    best = effects.argsort(descending=True)[:7].tolist()
    assert [score.output_id for score in seen.promoted] == best
    assert [score.output for score in seen.promoted] == [set_inputs.corpus.vocabulary[i] for i in best]
    assert [score.value for score in seen.promoted] == pytest.approx(effects[best].tolist(), rel=1e-5)
    assert [score.output_id for score in seen.suppressed] == effects.argsort()[:7].tolist()
    assert seen.path == "complete"
    assert not seen.is_centred
    assert seen.output_norm == pytest.approx(float(effects.norm()), rel=1e-5)


def test_a_middle_layer_states_the_direct_path(text_inputs: FeatureInputs) -> None:
    assert text_inputs.model is not None
    seen = decoder_outputs(text_inputs, 0)
    assert seen.path == "direct path only"
    assert seen.is_centred
    effects = text_inputs.model.output_directions(text_inputs.dictionary.W_dec.detach()[:1])[0]
    centred = effects - effects.mean()
    assert seen.promoted[0].value == pytest.approx(float(centred.max()), rel=1e-4)
    assert seen.suppressed[0].value == pytest.approx(float(centred.min()), rel=1e-4)
    assert is_last_site("resid_post:1", text_inputs.model)
    assert not is_last_site("mlp_out:1", text_inputs.model)


def test_percentiles() -> None:
    values = np.array([1.0, 2.0, 2.0, 3.0])
    assert [percentile_of(values, v) for v in (1.0, 2.0, 3.0)] == [12.5, 50.0, 87.5]


def test_percentiles_of_a_feature_say_how_large_its_row_is(set_inputs: FeatureInputs) -> None:
    found = [decoder_outputs(set_inputs, feature) for feature in range(set_inputs.store.n_features)]
    order = np.argsort([seen.output_norm or 0 for seen in found])
    percentiles = [found[i].output_norm_percentile or 0 for i in order.tolist()]
    assert percentiles == sorted(percentiles)
    assert 0 < percentiles[0] < percentiles[-1] < 100


def test_without_a_model_the_reason_is_given(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    assert set_inputs.cache is not None
    build_features(set_inputs.cache, set_inputs.corpus, set_inputs.dictionary, tmp_path).close()
    with FeatureInputs.open(tmp_path, set_inputs.corpus, set_inputs.dictionary) as inputs:
        seen = decoder_outputs(inputs, 0)
        assert (seen.promoted, seen.output_norm, seen.contribution_percentile) == ((), None, None)
        assert "without a model" in seen.reason
        assert seen.decoder_norm == pytest.approx(float(torch.linalg.norm(set_inputs.dictionary.W_dec[0].detach())))
        with pytest.raises(NotFoundError):
            decoder_outputs(inputs, 10**6)


def test_the_path_is_the_same_with_and_without_a_model_at_hand(tmp_path: Path, text_inputs: FeatureInputs) -> None:
    model, corpus = text_inputs.model, text_inputs.corpus
    assert model is not None
    with opened(model, corpus, f"resid_post:{model.n_layers - 1}", tmp_path) as inputs:
        folder, dictionary = inputs.store.path.parent, inputs.dictionary
        assert decoder_outputs(inputs, 0).path == "complete"
    with FeatureInputs.open(folder, corpus, dictionary) as inputs:
        assert inputs.model is None
        assert decoder_outputs(inputs, 0).path == "complete"
