"""The activation of any context against the stored activations, and against contexts run one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mechscope.activations.policy import TokenPolicy, read_policy
from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.corpora.domain import Context
from mechscope.experiments import ActivationFunction, ExperimentContext
from mechscope.experiments.changing.activation import Reading
from mechscope.models import Batch


def fresh(context: ExperimentContext, policy: TokenPolicy | None = None) -> ActivationFunction:
    reading = Reading(context.model.site(context.inputs.site), policy or context.policy, context.special_ids)
    return ActivationFunction(context.model, reading, context.inputs.dictionary, context.corpus, batch_tokens=300)


def alone(context: ExperimentContext, one: Context, feature: int, *, mean: bool = False) -> float:
    """One context by itself: model, reduction, dictionary, with nothing shared."""
    extra = {name: torch.tensor([value]) for name, value in one.inputs.items()}
    batch = replace(Batch.from_rows([list(one.tokens)]), extra=extra)
    value = context.model.capture(batch, context.inputs.site)[context.inputs.site]
    vectors = value.reshape(-1, value.shape[-1])
    vectors = vectors.mean(0, keepdim=True) if mean else vectors
    return float(context.inputs.dictionary.encode(vectors).to_dense()[:, feature].max())


@pytest.mark.parametrize("subject", ["builds", "sentences"])
def test_real_rows_have_their_stored_activation(subject: str, request: pytest.FixtureRequest) -> None:
    context: ExperimentContext = request.getfixturevalue(subject)
    rows = np.arange(0, context.corpus.n_rows, 7)
    busy = np.argsort(context.inputs.store.counts())[-5:]
    for feature in busy.tolist():
        stored = context.row_activations(feature)[rows]
        assert stored.any()
        np.testing.assert_allclose(
            context.activations(context.contexts_of(rows), feature), stored, rtol=1e-4, atol=1e-6
        )


def test_stored_rows_are_the_largest_of_their_samples(sentences: ExperimentContext) -> None:
    feature = int(sentences.inputs.store.counts().argmax())
    expected = np.zeros(sentences.corpus.n_rows)
    samples, values = sentences.inputs.store.feature(feature)
    for sample, value in zip(samples.tolist(), values.tolist(), strict=True):
        row = int(sentences.inputs.tokens.row[sample])
        expected[row] = max(expected[row], value)
    np.testing.assert_array_equal(sentences.row_activations(feature), expected)


@pytest.mark.parametrize("subject", ["builds", "sentences"])
def test_batched_contexts_equal_each_by_itself(subject: str, request: pytest.FixtureRequest) -> None:
    context: ExperimentContext = request.getfixturevalue(subject)
    generator = np.random.default_rng(3)
    contexts = context.contexts_of(generator.choice(context.corpus.n_rows, 40, replace=False))
    contexts = [replace(one, tokens=one.tokens[: int(generator.integers(1, len(one.tokens) + 1))]) for one in contexts]
    feature = int(context.inputs.store.counts().argmax())
    found = fresh(context)(contexts, feature)
    expected = [alone(context, one, feature) for one in contexts]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_mean_policy_takes_the_mean(sentences: ExperimentContext) -> None:
    contexts = sentences.contexts_of(np.arange(20))
    feature = int(sentences.inputs.store.counts().argmax())
    expected = [alone(sentences, one, feature, mean=True) for one in contexts]
    function = fresh(sentences, read_policy("mean", {}))
    np.testing.assert_allclose(function(contexts, feature), expected, rtol=1e-4, atol=1e-6)
    assert not function.is_token_level
    assert fresh(sentences).is_token_level


def test_each_distinct_context_runs_once_for_all_features(builds: ExperimentContext) -> None:
    function = fresh(builds)
    contexts = builds.contexts_of(np.arange(100))
    distinct = len({one.key for one in contexts})
    first = function([*contexts, *contexts], 1)
    assert function.n_forwards == distinct
    np.testing.assert_array_equal(first[:100], first[100:])
    function(contexts[::-1], 2)
    more = builds.contexts_of(np.arange(90, 130))
    function(more, 1)
    assert function.n_forwards == len({one.key for one in (*contexts, *more)})
    again = fresh(builds)
    together = again([*contexts, *more], 1)
    np.testing.assert_allclose(function([*contexts, *more], 1), together, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(function(contexts, 1), first[:100])  # what is remembered does not change


def test_forgetting_changes_no_value(builds: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mechscope.experiments.changing.activation.ENTRIES_KEPT", 0)
    function = fresh(builds)
    contexts = builds.contexts_of(np.arange(60))
    first = function(contexts[:40], 3)
    np.testing.assert_allclose(function(contexts, 3)[:40], first, rtol=1e-4, atol=1e-6)
    assert len(function._places) == len({one.key for one in contexts})


def test_bad_contexts_are_refused(builds: ExperimentContext) -> None:
    function, good = fresh(builds), builds.contexts_of([0])[0]
    with pytest.raises(NotFoundError, match="feature 48 is not in this dictionary"):
        function([good], 48)
    with pytest.raises(UsageError, match="a context without 'weapon_ids'"):
        function([Context(good.tokens)], 0)
    with pytest.raises(BadDataError, match=r"token ids|has no token"):
        function([Context((999,), good.inputs)], 0)
    assert function([good], 0).shape == (1,)  # a refused context leaves nothing behind
    assert function([], 0).shape == (0,)


@pytest.mark.parametrize("subject", ["builds", "sentences"])
def test_before_the_floor_is_the_activation_where_there_is_one(subject: str, request: pytest.FixtureRequest) -> None:
    context: ExperimentContext = request.getfixturevalue(subject)
    feature = int(context.inputs.store.counts().argmax())
    function, contexts = fresh(context), context.contexts_of(np.arange(40))
    seen_before = function(contexts[:15], feature)
    assert function.n_forwards == 15
    before = function.before_floor(contexts, feature)
    assert function.n_forwards == 55  # what was run without keeping it is run again
    active = function(contexts, feature)
    np.testing.assert_array_equal(active[:15], seen_before)
    assert function.n_forwards == 55
    assert (active > 0).any()
    assert (before >= active - 1e-5)[active > 0].all()
    if not function.is_token_level:  # else TopK may leave out the token where it is largest
        np.testing.assert_allclose(before[active > 0], active[active > 0], rtol=1e-4, atol=1e-6)
    other = fresh(context)
    np.testing.assert_allclose(other.before_floor(contexts, feature), before, rtol=1e-4, atol=1e-5)
    assert other.n_forwards == 40
    with pytest.raises(NotFoundError):
        function.before_floor(contexts[:1], 10**6)
    assert len(function(context.contexts_of(np.arange(40, 45)), feature)) == 5


def test_before_the_floor_is_the_encoders_own_sum(builds: ExperimentContext) -> None:
    dictionary, function = builds.inputs.dictionary, fresh(builds)
    for row in range(0, 60, 6):
        one = builds.contexts_of(np.array([row]))[0]
        extra = {name: torch.tensor([value]) for name, value in one.inputs.items()}
        batch = replace(Batch.from_rows([list(one.tokens)]), extra=extra)
        vector = builds.model.capture(batch, builds.inputs.site)[builds.inputs.site].reshape(-1)
        for feature in (0, 7):
            expected = ((vector - dictionary.b_dec) @ dictionary.W_enc[:, feature] + dictionary.b_enc[feature]).item()
            assert function.before_floor([one], feature)[0] == pytest.approx(expected, rel=1e-3, abs=1e-5)
