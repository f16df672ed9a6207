"""Sentences in the words of the domain: weapons and players for builds, its own group and rows for any other."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mechscope.core.kinds import EXPERIMENTS
from mechscope.corpora.domain import Context
from mechscope.experiments import ExperimentContext, ExperimentSpec, Findings, find_kind, get_runner_for_type
from mechscope.experiments.groups.verdicts import judge_groups
from mechscope.experiments.words import group_word, in_words_of
from mechscope.testing.planted_features import plant_feature

OF_BUILDS = re.compile(r"weapon|player|abilit|\bbuild\b|\bkit\b", re.IGNORECASE)


def test_no_domain_hears_of_weapons_that_has_none(builds: ExperimentContext, sentences: ExperimentContext) -> None:
    n_turned = 0
    for name in EXPERIMENTS.names():
        texts = find_kind(name).alternatives
        assert in_words_of(builds.domain, texts) == texts
        turned = in_words_of(sentences.domain, texts)
        assert len(turned) == len(texts)
        assert not any(OF_BUILDS.search(text) for text in turned), turned
        assert all(text.count("(") == text.count(")") for text in turned)
        n_turned += turned != texts
    assert n_turned >= 8
    assert group_word(builds.domain) == "weapon"
    assert group_word(sentences.domain) in {*sentences.domain.groups, "group"}


@pytest.mark.parametrize("column", ["weapon", "topic_of_text"])
def test_a_dominant_group_goes_by_its_column(builds: ExperimentContext, column: str) -> None:
    findings = Findings()
    judge_groups(findings, builds, column, ("one", "two"), np.array([3.0, 1.0]), [True, False])
    assert findings.warnings == [f"DOMINANT {column.upper()}: one has a delta of +3, 3.0 times that of two"]


def test_cores_do_not_apply_where_most_contexts_need_no_token(builds: ExperimentContext) -> None:
    """Active in every build, and a little more so with comeback: every context keeps half without a token."""

    def activation(context: Context) -> float:
        return 1.0 + 0.1 * builds.domain.has(context, "comeback")

    spec = ExperimentSpec.parse({"type": "minimal_cores", "feature_id": 3, "variables": {"high_percentile": 0.5}})
    found = get_runner_for_type("minimal_cores").run(spec, plant_feature(builds.inputs, 3, activation))
    assert found.success, found.error_message
    lines = found.get_summary().splitlines()
    assert lines[1].startswith("warning: DOES NOT APPLY: in 20 of 20 contexts no token is needed")
    assert "weapon among it" in lines[1]
    assert not found.findings
    assert not found.claims
    assert found.aggregates.custom["top_core"] is None
    assert not {"cores", "tokens", "core_tests"} & set(found.tables)
    assert sum("DOES NOT APPLY" in line for line in lines) == 1
