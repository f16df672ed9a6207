"""Matching finds what was planted and is not fooled by what a token, a component or luck explains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.features.inputs import FeatureInputs
from mechscope.features.matches import MatchSpec
from mechscope.features.matching import concept_of_samples, match_concepts
from mechscope.stats.column_areas import dense_areas
from mechscope.store.sparse import CompressedRows, FeatureStore, FeatureStoreWriter

PLANTED, N_FEATURES = 7, 20


def planted_store(folder: Path, truth: np.ndarray) -> FeatureStore:
    """Noise features, and one that is mostly active where `truth` holds."""
    generator = np.random.default_rng(0)
    dense = generator.exponential(size=(len(truth), N_FEATURES)) * (generator.random((len(truth), N_FEATURES)) < 0.2)
    # Every positive counts: a rare concept has about a dozen of them among the held-out rows.
    follows = truth | (generator.random(len(truth)) < 0.03)
    dense[:, PLANTED] = follows * (0.5 + generator.random(len(truth)))
    rows, features = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(truth)))])
    values = dense[rows, features].astype(np.float32)
    with FeatureStoreWriter(folder, key={}, n_features=N_FEATURES) as writer:
        writer.add(0, CompressedRows(indptr, features.astype(np.uint32), values))
        writer.finish(n_samples=len(truth))
    return FeatureStore.open(folder)


def test_a_planted_concept_is_found_and_counts(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    concept = set_inputs.corpus.names_with_role("concept")[0]
    truth = concept_of_samples(set_inputs, concept)
    inputs = replace(set_inputs, store=planted_store(tmp_path, truth))
    result = match_concepts(inputs, concepts=[concept])
    (match,) = result.matches
    assert match.feature.candidate == PLANTED
    assert match.feature.auroc > 0.9
    assert match.counts
    assert match.gain > 0
    assert match.beats_clearly == (match.gain_low > 0)
    held_out = concept_of_samples(set_inputs, "split") == "test"
    is_active = np.zeros(len(truth), bool)
    is_active[inputs.store.feature(PLANTED)[0]] = True
    assert match.precision == pytest.approx(truth[held_out & is_active].mean())
    assert match.feature.low < match.feature.auroc < match.feature.high
    assert {c.kind for c in match.baselines} == {"token", "pca", "random dictionary"}
    assert match.n_pick + match.n_score < len(truth)  # validation rows are left alone
    assert result.share_found == 1
    strict = match_concepts(inputs, concepts=[concept], spec=MatchSpec(threshold=0.999))
    assert not strict.matches[0].counts
    assert "does not pass 0.999" in strict.matches[0].reason
    inputs.store.close()


def test_a_concept_that_one_token_gives_away_does_not_count(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    token = int(np.abs(set_inputs.n_samples_with / set_inputs.tokens.n_samples - 0.3).argmin())
    truth = set_inputs.tokens.holds(np.arange(set_inputs.tokens.n_samples), np.array([token]))
    columns = {**set_inputs.corpus.row_columns, "holds": truth}
    described = {**set_inputs.corpus.columns, "holds": set_inputs.corpus.columns["split"]}
    corpus = replace(set_inputs.corpus, row_columns=columns, columns=described)
    inputs = replace(set_inputs, corpus=corpus, store=planted_store(tmp_path, truth))
    (match,) = match_concepts(inputs, concepts=["holds"]).matches
    assert match.baseline("token").auroc == 1
    assert match.baseline("token").name == set_inputs.corpus.vocabulary[token]
    assert not match.counts
    assert not match.beats_clearly
    assert "is as good" in match.reason
    inputs.store.close()


def test_scores_are_of_held_out_samples(set_inputs: FeatureInputs) -> None:
    result = match_concepts(set_inputs)
    assert result.matches
    split = set_inputs.corpus.column("split")[set_inputs.tokens.row]
    for match in result.matches:
        truth = concept_of_samples(set_inputs, match.concept)
        samples, values = set_inputs.store.feature(match.feature.candidate)
        dense = np.zeros((len(truth), 1))
        dense[samples, 0] = values
        for part, seen in (("train", match.feature.pick_auroc), ("test", match.feature.auroc)):
            rows = split == part
            assert seen == pytest.approx(dense_areas(dense[rows], truth[rows, None])[0, 0], abs=1e-9)


def test_token_concepts_are_mapped_to_positions(text_inputs: FeatureInputs, set_inputs: FeatureInputs) -> None:
    result = match_concepts(text_inputs, spec=MatchSpec(min_positives=5))
    assert result.clustered_by == "document"
    assert result.matches
    assert all(match.n_score_positive >= 5 for match in result.matches)
    with pytest.raises(UsageError, match="cache"):
        match_concepts(replace(text_inputs, cache=None))
    with pytest.raises(UsageError, match="booleans"):
        match_concepts(set_inputs, concepts=["weapon"])


def test_rare_concepts_are_skipped_with_a_reason(set_inputs: FeatureInputs) -> None:
    result = match_concepts(set_inputs, spec=MatchSpec(min_positives=10_000))
    assert not result.matches
    assert result.share_found is None
    assert all("10000 of each are needed" in skipped.reason for skipped in result.skipped)
