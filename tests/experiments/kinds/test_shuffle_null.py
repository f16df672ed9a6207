"""Planted features go with their tokens beyond shuffles; shuffled ones, and those of a stratum alone, do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model
from planted_rows import custom_of, plant_comeback_in_noise, rows_of

from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.features import FeatureInputs
from mechscope.stats import dealt_sums
from mechscope.testing.planted_features import plant_feature

FEATURE = 3


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("shuffles")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


def run(context: ExperimentContext, *, seed: int = 0, **variables: Any) -> ExperimentResult:
    spec = ExperimentSpec.parse(
        {"type": "shuffle_null", "feature_id": FEATURE, "seed": seed, "variables": variables,
         "outputs": {"figures": True}}
    )  # fmt: skip
    result = get_runner_for_type("shuffle_null").run(spec, context)
    assert result.success, result.error_message
    return result


def test_a_planted_feature_passes_by_its_token_and_shuffled_ones_fail(inputs: FeatureInputs) -> None:
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    noise = np.random.default_rng(8).random(inputs.corpus.n_rows)
    context = plant_feature(inputs, FEATURE, lambda c: noise[c.row] + 0.8 * domain.has(c, "comeback"))
    result = run(context)
    assert custom_of(result)["passes"] is True
    assert custom_of(result)["p"] == 1 / 200
    assert rows_of(result, "strongest_items")[0]["item"] == "comeback"
    held = {row["statistic"]: row for row in rows_of(result, "held_out")}
    assert held["best_token_auroc"]["item"] == held["largest_effect"]["item"] == "comeback"
    assert held["largest_effect"]["low"] < 0.8 < held["largest_effect"]["high"]
    assert held["held_out_r2"]["low"] < custom_of(result)["held_out_r2"] < held["held_out_r2"]["high"]
    assert "comeback" in result.claims[0]
    assert "shuffle_null" in result.figures
    values, passes = context._row_activations[FEATURE].copy(), []
    for seed in range(6):
        context._row_activations[FEATURE] = np.random.default_rng(seed).permutation(values)
        result = run(context, seed=seed)
        passes.append(custom_of(result)["passes"])
        assert bool(result.claims) == passes[-1]
        for row in rows_of(result, "shuffle_null"):
            assert row["p"] * 200 == pytest.approx(round(row["p"] * 200))
            assert 1 / 200 <= row["p"] <= row["p_corrected"] <= 1
            assert row["null_low"] <= row["null_mean"] <= row["null_max"]
    assert not any(passes)


@pytest.mark.parametrize("most_dealt", [100, 1200])  # of 1,500 rows, 900 active: drawn as normal, or the active dealt
def test_drawn_sums_tell_the_same(inputs: FeatureInputs, most_dealt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    context = plant_comeback_in_noise(inputs, FEATURE)
    real = run(context, n_shuffles=400, min_rows=100)
    monkeypatch.setattr(dealt_sums, "MOST_DEALT", most_dealt)
    drawn = run(context, n_shuffles=400, min_rows=100)
    assert "drawn" in drawn.tables["shuffle_null"].caption
    assert "drawn" not in real.tables["shuffle_null"].caption
    assert custom_of(drawn)["passes"] is custom_of(real)["passes"] is True
    for one, other in zip(rows_of(real, "shuffle_null"), rows_of(drawn, "shuffle_null"), strict=True):
        assert one["value"] == other["value"]
        width = one["null_high"] - one["null_low"]
        for end in ("null_mean", "null_low", "null_high"):
            assert other[end] == pytest.approx(one[end], abs=0.2 * width), (one["statistic"], end)
    context._row_activations[FEATURE] = np.random.default_rng(1).permutation(context._row_activations[FEATURE])
    assert custom_of(run(context, min_rows=100))["passes"] is False
    assert "drawn" not in run(context, strata=["weapon_class"], groups=[]).tables["shuffle_null"].caption


def test_what_a_stratum_explains_is_gone_within_it(inputs: FeatureInputs) -> None:
    context = plant_feature(inputs, FEATURE, lambda _: 1.0)
    classes = np.unique(context.group_values("weapon_class"), return_inverse=True)[1]
    noise = np.random.default_rng(9).random(inputs.corpus.n_rows)
    context._row_activations[FEATURE] = classes + noise
    assert custom_of(run(context, groups=["weapon_class"]))["passes"] is True
    within = run(context, strata=["weapon_class"], groups=[])
    assert custom_of(within)["passes"] is False
    assert custom_of(within)["strata"] == ["weapon_class"]


class Documented(ExperimentContext):
    """Five rows a document, and four in the last."""

    def clusters_of(self, rows: np.ndarray) -> np.ndarray:
        return (rows + 1) // 5


def test_rows_of_a_document_move_together(inputs: FeatureInputs) -> None:
    context = Documented("documents", inputs, plant_feature(inputs, FEATURE, lambda _: 1.0).domain)
    n_documents = len(np.unique(context.clusters_of(context.rows_in_store)))
    effects = np.random.default_rng(3).random(n_documents)
    # a feature of the document alone, and documents that differ in their weapon class by plan
    context._row_activations[FEATURE] = effects[context.clusters_of(np.arange(inputs.corpus.n_rows))]
    context._groups["region"] = np.where(effects > 0.5, "a", "b")[context.clusters_of(np.arange(inputs.corpus.n_rows))]
    result = run(context, groups=["region"])
    assert f"{n_documents:,} documents" in result.tables["shuffle_null"].caption
    assert result.diagnostics.dropped["rows that no shuffle moves"] == 5  # one document of four, one of a single row
    assert custom_of(result)["passes"] is True
    context = Documented("documents", inputs, context.domain)
    context._row_activations[FEATURE] = effects[context.clusters_of(np.arange(inputs.corpus.n_rows))]
    context._groups["region"] = np.where(np.random.default_rng(4).random(n_documents) > 0.5, "a", "b")[
        context.clusters_of(np.arange(inputs.corpus.n_rows))
    ]
    unrelated = run(context, groups=["region"])
    assert custom_of(unrelated)["passes"] is False


def test_a_constant_feature_is_refused_in_words(inputs: FeatureInputs) -> None:
    context = plant_feature(inputs, FEATURE, lambda _: 1.0)
    result = get_runner_for_type("shuffle_null").run(ExperimentSpec(type="shuffle_null", feature_id=FEATURE), context)
    assert "one activation in all" in str(result.error_message)
