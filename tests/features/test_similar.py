"""Similarities against dense matrices; every registered one keeps the same contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mechscope.core import NotFoundError
from mechscope.core.kinds import SIMILARITIES
from mechscope.features.inputs import FeatureInputs
from mechscope.features.similar import similar


def activity(inputs: FeatureInputs) -> np.ndarray:
    table = np.zeros((inputs.store.n_samples, inputs.store.n_features), bool)
    for feature in range(inputs.store.n_features):
        table[inputs.store.feature(feature)[0], feature] = True
    return table


@pytest.mark.parametrize("method", ["decoder_cosine", "jaccard", "phi", "top_tokens"])
def test_the_contract_of_a_similarity(method: str, set_inputs: FeatureInputs, text_inputs: FeatureInputs) -> None:
    assert method in SIMILARITIES.names()
    for inputs in (set_inputs, text_inputs):
        feature = int(inputs.store.counts().argmax())
        values = SIMILARITIES.get(method)(inputs, feature)
        assert (values.shape, values.dtype) == ((inputs.store.n_features,), np.float64)
        assert np.isfinite(values).all()
        assert values.max() == pytest.approx(values[feature])
        assert values[feature] == pytest.approx(1)
        found = similar(inputs, feature, method, 5)
        assert [n.value for n in found.neighbours] == sorted((n.value for n in found.neighbours), reverse=True)
        assert feature not in [n.feature for n in found.neighbours]
        assert len(found.neighbours) == 5
        other = found.neighbours[0].feature
        assert SIMILARITIES.get(method)(inputs, other)[feature] == pytest.approx(values[other])


def test_every_similarity_is_in_the_contract_test() -> None:
    assert SIMILARITIES.names() == ["decoder_cosine", "jaccard", "phi", "top_tokens"]


def test_coactivation_and_cosine_equal_the_dense_ones(set_inputs: FeatureInputs) -> None:
    table: np.ndarray = activity(set_inputs)
    feature = int(table.sum(axis=0).argmax())
    common = (table & table[:, [feature]]).sum(axis=0)
    either = (table | table[:, [feature]]).sum(axis=0)
    np.testing.assert_allclose(SIMILARITIES.get("jaccard")(set_inputs, feature), common / np.maximum(either, 1))
    values = SIMILARITIES.get("phi")(set_inputs, feature)
    varies: np.ndarray = np.asarray(table.any(axis=0) & ~table.all(axis=0))
    expected = np.corrcoef(table[:, varies].T.astype(float))[int(np.count_nonzero(varies[:feature]))]
    np.testing.assert_allclose(values[varies], expected, atol=1e-12)
    W_dec = set_inputs.dictionary.W_dec.detach()
    cosines = torch.nn.functional.cosine_similarity(W_dec, W_dec[[feature]], dim=1).numpy()
    np.testing.assert_allclose(SIMILARITIES.get("decoder_cosine")(set_inputs, feature), cosines, atol=1e-6)


def test_top_tokens_equal_the_slow_version(set_inputs: FeatureInputs) -> None:
    profiles = np.zeros((set_inputs.store.n_features, set_inputs.tokens.d_vocab))
    for feature in range(set_inputs.store.n_features):
        for sample in set_inputs.store.stats(feature).top_samples:
            ids = np.unique(set_inputs.corpus.tokens[int(set_inputs.tokens.row[sample])])
            profiles[feature, ids] += set_inputs.idf[ids]
    norms = np.maximum(np.linalg.norm(profiles, axis=1), 1e-300)
    for feature in (0, 5, 11):
        expected = profiles @ profiles[feature] / (norms * norms[feature])
        np.testing.assert_allclose(SIMILARITIES.get("top_tokens")(set_inputs, feature), expected, atol=1e-12)


def test_unknown_names_are_refused(set_inputs: FeatureInputs) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'decoder_cosine'"):
        similar(set_inputs, 0, "decoder_cosin")
    with pytest.raises(NotFoundError, match="0 to"):
        similar(set_inputs, 10**6)
