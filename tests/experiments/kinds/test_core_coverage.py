"""Coverage: planted core and tail tokens are told apart; counts equal a slow count; a quantile may be written twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model
from pydantic import ValidationError

from mechscope.corpora.domain import Context
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.kinds.core_coverage import CoreCoverageVariables
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

FEATURE = 3


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("coverage")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


@pytest.fixture(scope="module")
def planted(inputs: FeatureInputs) -> ExperimentContext:
    """Quick respawn makes it active; Comeback drives it to the top."""

    def activation(context: Context) -> float:
        has_respawn = domain.rung(context, "quick_respawn") >= 6
        jitter = (sum(context.tokens) % 97) / 97
        return has_respawn * (1.0 + jitter + 3.0 * domain.has(context, "comeback"))

    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    return plant_feature(inputs, FEATURE, activation)


def run(planted: ExperimentContext, **variables: object) -> ExperimentResult:
    spec = ExperimentSpec.parse({"type": "coverage", "feature_id": FEATURE, "variables": variables})
    result = get_runner_for_type("coverage").run(spec, planted)
    assert result.success, result.error_message
    return result


def rows_of(result: ExperimentResult, table: str) -> Any:
    return result.tables[table].rows


def test_the_planted_core_and_tail_are_told_apart(planted: ExperimentContext) -> None:
    result = run(planted, tokens=["quick_respawn_6", "comeback", "ninja_squid"], threshold=90)
    by_token = {row["token"]: row for row in rows_of(result, "token_coverage")}
    assert by_token["quick_respawn_6"]["classification"] == "core"
    assert by_token["comeback"]["classification"] == "tail"
    assert by_token["comeback"]["high_share"] == 1.0
    assert by_token["comeback"]["p_corrected"] < 0.001
    assert by_token["ninja_squid"]["classification"] != "core"
    assert result.aggregates.custom["core_tokens"] == ["quick_respawn_6"]
    assert [claim.split()[0] for claim in result.claims] == ["quick_respawn_6"]
    assert any(text.startswith("comeback marks the tail") for text in result.findings)
    assert result.evidence == "observational"


def test_shares_are_those_of_a_slow_count(planted: ExperimentContext) -> None:
    result = run(planted, tokens=["quick_respawn_6", "comeback"], threshold=0.8)
    values = planted.row_activations(FEATURE)
    cut = np.quantile(values[values > 0], 0.8)
    contexts = planted.contexts_of(np.flatnonzero(values >= cut))
    share = np.mean([planted.domain.has(context, "comeback") for context in contexts])
    everywhere = np.mean([planted.domain.has(c, "comeback") for c in planted.contexts_of(np.arange(len(values)))])
    row = rows_of(result, "token_coverage")[1]
    assert row["high_share"] == pytest.approx(share)
    assert row["lift"] == pytest.approx(share / everywhere)
    assert row["high_low"] < share <= row["high_high"]
    both = rows_of(result, "combination_coverage")[0]
    assert both["tokens"] == "quick_respawn_6 + comeback"
    assert both["high_share"] == pytest.approx(share)  # every active row has the respawn
    assert both["beyond_independence"] == pytest.approx(1.0)


def test_without_tokens_the_most_over_represented_are_taken(planted: ExperimentContext) -> None:
    result = run(planted, n_candidates=3, threshold=0.8)
    assert "comeback" in [row["token"] for row in rows_of(result, "token_coverage")]


def test_a_quantile_is_a_share_or_a_percentile() -> None:
    assert CoreCoverageVariables(threshold=90).threshold == CoreCoverageVariables(threshold=0.9).threshold == 0.9
    assert CoreCoverageVariables.parse({"tokens": "comeback, ninja_squid"}).tokens == ("comeback", "ninja_squid")
    for wrong in (0, 1, 100, -3):
        with pytest.raises((ValidationError, ValueError), match="threshold"):
            CoreCoverageVariables(threshold=wrong)
