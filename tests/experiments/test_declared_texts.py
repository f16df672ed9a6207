"""A text domain declared in a YAML file: every kind measures on it, token by token, or refuses with a reason."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from mechscope.core.kinds import EXPERIMENTS
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import (
    CAUSAL,
    OBSERVED,
    ExperimentContext,
    ExperimentResult,
    ExperimentSpec,
    find_kind,
    get_runner_for_type,
)
from mechscope.testing.planted_features import PlantedActivations

DECLARATION = """
name: counted
families:
  number_word: {rungs: [a, every, two, many]}
  sentiment_scale: {rungs: [awful, bad, plain, good, splendid]}
binaries:
  shouted: {on: "!", off: "."}
groups: [topic_of_text, register]
"""
CHOSEN: dict[str, dict[str, Any]] = {
    "family_1d_sweep": {"family": "number_word"},
    "family_2d_heatmap": {"family_x": "number_word", "family_y": "shouted"},
    "within_family_interference": {"family": "number_word"},
}
MUST_WORK = {
    ("family_1d_sweep", CAUSAL), ("family_1d_sweep", OBSERVED), ("binary_presence", CAUSAL),
    ("binary_presence", OBSERVED), ("token_influence", OBSERVED), ("core_coverage", OBSERVED),
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = import_module("experiments.test_contract").NEEDED


@pytest.fixture(scope="module")
def counted(sentences: ExperimentContext, tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    path = tmp_path_factory.mktemp("declared") / "counted.yaml"
    path.write_text(DECLARATION)
    return replace(sentences, name="counted", domain=domain_for(sentences.corpus, declared=path))


def run(context: ExperimentContext, kind: str, mode: str, **variables: Any) -> ExperimentResult:
    feature = int(context.inputs.store.counts().argmax())
    sliced = {"sample_size": 30} if mode == CAUSAL else {}
    chosen = CHOSEN.get(kind, NEEDED.get(kind, {})) | variables
    spec = {"type": kind, "feature_id": feature, "mode": mode, "variables": chosen, "dataset_slice": sliced}
    return get_runner_for_type(kind).run(ExperimentSpec.parse(spec), context)


@pytest.mark.parametrize("kind", EXPERIMENTS.names())
def test_every_kind_works_or_says_why_not(kind: str, counted: ExperimentContext) -> None:
    assert counted.is_token_level
    for mode in find_kind(kind).modes:
        result = run(counted, kind, mode)
        if (kind, mode) in MUST_WORK:
            assert result.success, result.error_message
        if not result.success:
            assert "expected:" in str(result.error_message), result.error_message
            assert "to do:" in str(result.error_message), result.error_message


def test_a_planted_number_word_is_found_by_its_rung(counted: ExperimentContext) -> None:
    """No text can lose its number word, so rungs are held against the lowest; plural words raise the feature."""
    activations = PlantedActivations(lambda one: 1.0 + 2.0 * (counted.domain.rung(one, "number_word") >= 3))
    context = replace(counted)
    context.__dict__["activations"] = activations
    rows = context.contexts_of(np.arange(context.corpus.n_rows))
    feature = int(context.inputs.store.counts().argmax())
    context._row_activations[feature] = activations(rows, feature)
    result = run(context, "family_1d_sweep", CAUSAL, observed_beside=False)
    assert result.success, result.error_message
    assert result.aggregates.custom["reference_rung"] == 1
    assert [row["mean_delta"] for row in result.tables["rung_deltas"].rows] == [0, 2, 2]
    assert result.aggregates.custom["threshold_rung"] == 3
    seen = run(context, "family_1d_sweep", OBSERVED, confounders=[])
    assert seen.success, seen.error_message


def test_observed_tokens_are_those_of_the_texts_and_toggled_ones_the_binaries(counted: ExperimentContext) -> None:
    seen = run(counted, "token_influence", OBSERVED)
    names = [row["token"] for row in seen.tables["token_enrichment"].rows]
    assert "the" in names
    assert not any(str(name).startswith("<") for name in names)
    switched = run(counted, "token_influence", CAUSAL)
    assert [row["token"] for row in switched.tables["token_deltas"].rows] == ["!"]
    none = replace(counted, domain=domain_for(replace(counted.corpus, facts={})))
    refusal = str(run(none, "token_influence", CAUSAL).error_message)
    assert "can switch none by itself" in refusal
    assert "declare binaries" in refusal
