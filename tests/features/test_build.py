"""The build against the dictionary's own dense codes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_cases import SPEC, collected, dictionary_for, set_model

from mechscope.activations import ActivationCache
from mechscope.core import BadDataError, SilentProgress
from mechscope.core.progress import Task
from mechscope.corpora import Corpus
from mechscope.dictionaries import Dictionary
from mechscope.features.build import build_features, inverse_document_frequency
from mechscope.features.inputs import FeatureInputs
from mechscope.store.sparse import FeatureStore


def all_codes(inputs: FeatureInputs) -> np.ndarray:
    assert inputs.cache is not None
    acts = inputs.cache.read(np.arange(inputs.cache.n_samples))
    dense: np.ndarray = inputs.dictionary.encode(acts).to_dense().numpy()
    return dense


@pytest.mark.parametrize("name", ["set_inputs", "text_inputs"])
def test_the_store_holds_the_codes_of_every_sample(name: str, request: pytest.FixtureRequest) -> None:
    inputs: FeatureInputs = request.getfixturevalue(name)
    dense = all_codes(inputs)
    assert inputs.store.n_samples == len(dense)
    assert len(inputs.store.facts["segments"]) > 1
    for feature in range(dense.shape[1]):
        samples, values = inputs.store.feature(feature)
        np.testing.assert_array_equal(samples, np.flatnonzero(dense[:, feature]))
        np.testing.assert_allclose(values, dense[samples, feature], rtol=1e-5)
    inputs.store.verify()


def test_samples_know_their_tokens(text_inputs: FeatureInputs, set_inputs: FeatureInputs) -> None:
    corpus, tokens = text_inputs.corpus, text_inputs.tokens
    assert not tokens.is_pooled
    for sample in (0, 17, tokens.n_samples - 1):
        assert tokens.current is not None
        assert tokens.current[sample] == corpus.tokens[int(tokens.row[sample])][int(tokens.pos[sample])]
    corpus, tokens = set_inputs.corpus, set_inputs.tokens
    assert tokens.is_pooled
    every = [set(corpus.tokens[int(row)].tolist()) for row in tokens.row]
    expected = [sum(token in row for row in every) for token in range(len(corpus.vocabulary))]
    np.testing.assert_array_equal(set_inputs.n_samples_with, expected)
    np.testing.assert_array_equal(tokens.holds(np.arange(9), np.array([3, 4])), [bool(r & {3, 4}) for r in every[:9]])
    np.testing.assert_allclose(set_inputs.idf, inverse_document_frequency(np.array(expected), corpus.n_rows))


def test_a_finished_store_is_reused(set_inputs: FeatureInputs) -> None:
    assert set_inputs.cache is not None
    before = {path: path.stat().st_mtime_ns for path in set_inputs.store.path.rglob("*")}
    folder = set_inputs.store.path.parent
    again = build_features(
        set_inputs.cache, set_inputs.corpus, set_inputs.dictionary, folder, model=set_inputs.model, spec=SPEC
    )
    again.close()
    assert {path: path.stat().st_mtime_ns for path in set_inputs.store.path.rglob("*")} == before


def test_a_store_of_other_inputs_is_refused(set_inputs: FeatureInputs, text_inputs: FeatureInputs) -> None:
    folder = set_inputs.store.path.parent
    with pytest.raises(BadDataError, match="from corpus"):
        FeatureInputs.open(folder, text_inputs.corpus, set_inputs.dictionary)
    with pytest.raises(BadDataError, match="from dictionary"):
        FeatureInputs.open(folder, set_inputs.corpus, text_inputs.dictionary)


class Poisoned(ActivationCache):
    """A cache whose second shard holds NaN at its fourth sample."""

    def shards(self):  # type: ignore[no-untyped-def]
        for index, shard in enumerate(super().shards()):
            acts = shard.acts.clone()
            if index == 1:
                acts[3, 0] = torch.nan
            yield replace(shard, acts=acts)


def test_nan_is_named_with_shard_and_sample(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    assert set_inputs.cache is not None
    cache = Poisoned(**set_inputs.cache.__dict__)
    place = set_inputs.cache.parts[1].first_sample + 3
    with pytest.raises(BadDataError, match=rf"shard 1 .* sample {place} \(row"):
        build_features(cache, set_inputs.corpus, set_inputs.dictionary, tmp_path)
    with pytest.raises(BadDataError, match="no finished feature store"):
        FeatureStore.open(tmp_path)
    # what stood before the fault is kept, and the healthy cache goes on from there to the same store
    build_features(set_inputs.cache, set_inputs.corpus, set_inputs.dictionary, tmp_path).close()


def test_a_foreign_corpus_is_refused(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    assert set_inputs.cache is not None
    short: Corpus = set_inputs.corpus.select(np.arange(10))
    with pytest.raises(BadDataError, match="collected from corpus"):
        build_features(set_inputs.cache, short, set_inputs.dictionary, tmp_path / "s")
    # as long as the right one: nothing but its digest tells them apart
    same_length = set_inputs.corpus.select(np.arange(set_inputs.corpus.n_rows)[::-1].copy())
    with pytest.raises(BadDataError, match="collected from corpus"):
        build_features(set_inputs.cache, same_length, set_inputs.dictionary, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_dictionary_of_another_width_is_refused(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    assert set_inputs.cache is not None
    wide = Dictionary.random(set_inputs.dictionary.spec.updated(d_in=set_inputs.cache.d_in + 1), seed=0)
    with pytest.raises(BadDataError, match="16 wide"):
        build_features(set_inputs.cache, set_inputs.corpus, wide, tmp_path / "s")
    assert not (tmp_path / "s").exists()


class Told(SilentProgress):
    """Keeps what it was told; `waits` is set once somebody waits."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waits = threading.Event()

    def say(self, line: str) -> None:
        self.lines.append(line)
        if "waiting" in line:
            self.waits.set()


def test_a_second_build_waits_for_the_first_and_reuses_it(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    assert set_inputs.cache is not None
    cache, corpus, dictionary = set_inputs.cache, set_inputs.corpus, set_inputs.dictionary
    told = Told()

    class Slow(SilentProgress):
        """Goes on only when the second build waits."""

        @contextmanager
        def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
            begin.set()
            assert told.waits.wait(20)
            with super().task(name, total=total, unit=unit) as task:
                yield task

    begin = threading.Event()

    def first() -> None:
        build_features(cache, corpus, dictionary, tmp_path, progress=Slow()).close()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first)
        assert begin.wait(20)
        with build_features(cache, corpus, dictionary, tmp_path, progress=told) as store:
            assert store.n_samples == cache.n_samples
        running.result()
    assert ["waiting" in told.lines[0], "reused" in told.lines[1]] == [True, True]


def test_without_a_model_the_store_says_so(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    cache = collected(set_model(), set_inputs.corpus, "pooled", tmp_path / "a")
    dictionary = dictionary_for(cache)
    build_features(cache, set_inputs.corpus, dictionary, tmp_path / "s").close()
    with FeatureInputs.open(tmp_path / "s", set_inputs.corpus, dictionary) as inputs:
        assert "without a model" in inputs.influence_facts["reason"]
