"""A planted feature is reliable over halves; the same values shuffled over rows are not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model

from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

FEATURE = 3


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("halves")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


def run(context: ExperimentContext) -> ExperimentResult:
    result = get_runner_for_type("split_half").run(ExperimentSpec(type="split_half", feature_id=FEATURE), context)
    assert result.success, result.error_message
    return result


def test_a_planted_feature_passes_and_shuffled_ones_fail(inputs: FeatureInputs) -> None:
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    context = plant_feature(inputs, FEATURE, lambda c: 1.0 + 3 * domain.has(c, "comeback"))
    result = run(context)
    assert result.evidence == "observational"
    assert result.aggregates.custom["passes"] is True
    values = context._row_activations[FEATURE]
    for seed in range(3):
        context._row_activations[FEATURE] = np.random.default_rng(seed).permutation(values)
        result = run(context)
        assert result.aggregates.custom["passes"] is False
        assert result.claims == ()
