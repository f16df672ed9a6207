"""The grid: planted interactions come back with sign and size, additive ones as zero, and a ReLU's are told apart."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model

from mechscope.corpora.domain import Context
from mechscope.experiments import ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.grids import GridAxis, write_row_means
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

FEATURE = 3


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("grid")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


def run(
    inputs: FeatureInputs, function: Callable[[int, bool], float], mode: str = "interventional", **more: object
) -> ExperimentResult:
    """`function` of quick respawn's rung and whether Comeback is there."""
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain

    def activation(context: Context) -> float:
        noise = (sum(context.tokens[:1]) % 7) / 70 if mode == "observational" else 0.0
        return function(domain.rung(context, "quick_respawn"), domain.has(context, "comeback")) + noise

    spec = ExperimentSpec.parse(
        {"type": "heatmap", "feature_id": FEATURE, "mode": mode, "outputs": {"figures": True},
         "dataset_slice": {"sample_size": 60} if mode == "interventional" else {},
         "variables": {"family_x": "QR", "family_y": "comeback", "rungs_x": [3, 12], **more}}
    )  # fmt: skip
    result = get_runner_for_type("heatmap").run(spec, plant_feature(inputs, FEATURE, activation))
    assert result.success, result.error_message
    return result


def custom(result: ExperimentResult) -> Any:
    return result.aggregates.custom


@pytest.mark.parametrize(("size", "sign"), [(3.0, "positive"), (-3.0, "negative")])
def test_a_planted_interaction_comes_back(inputs: FeatureInputs, size: float, sign: str) -> None:
    result = run(inputs, lambda rung, there: 5.0 + (rung >= 3) + 2 * there + size * (there and rung >= 12))
    assert custom(result)["interaction_sign"] == sign
    pairs: Any = {row["x"]: row for row in result.tables["interactions"].rows}
    assert pairs[3]["mean_delta"] == pytest.approx(0.0)
    assert pairs[12]["mean_delta"] == pytest.approx(size)
    assert pairs[12]["before_floor"] == pytest.approx(size)
    assert len(result.claims) == 1
    means: Any = {(row["x"], row["y"]): row["mean"] for row in result.tables["grid_means"].rows}
    assert means == pytest.approx({(0, 0): 5, (0, 1): 7, (3, 0): 6, (3, 1): 8, (12, 0): 6, (12, 1): 8 + size})
    assert result.figures["heatmap"].traces[0]["z"][1][2] == pytest.approx(8 + size)


def test_what_adds_up_does_not_interact(inputs: FeatureInputs) -> None:
    result = run(inputs, lambda rung, there: 5.0 + (rung >= 3) + 2 * there)
    assert custom(result)["interaction_sign"] == "none"
    assert custom(result)["interaction"] == pytest.approx(0.0)
    assert result.claims == ()


def test_an_interaction_made_by_the_floor_is_not_claimed(inputs: FeatureInputs) -> None:
    result = run(inputs, lambda rung, there: -2.0 + 2 * (rung >= 3) + 3 * there)
    assert custom(result)["interaction_sign"] == "positive"
    assert result.claims == ()
    assert any("the ReLU may have made it" in text for text in result.diagnostics.warnings)


def test_an_interaction_at_the_top_of_the_ladder_is_not_averaged_away(inputs: FeatureInputs) -> None:
    result = run(inputs, lambda rung, there: 5.0 + there - 2 * (there and rung >= 15), rungs_x=[3, 6, 12, 15])
    assert -0.5 <= custom(result)["interaction"] < -0.2  # the mean over four rungs, or three where 15 does not fit
    assert custom(result)["interaction_sign"] == "negative"
    assert custom(result)["interaction_pair"] == "15 x 1"
    assert custom(result)["interaction_of_pair"] == pytest.approx(-2.0)
    assert [(row["pair"], row["holds"]) for row in result.tables["held_out"].rows] == [
        ("15 x 1", True),
        ("the mean of all pairs", True),
    ]
    assert "second difference at 15 x 1, held-out half: -2 [-2, -2], n = " in result.claims[0]
    assert "the mean of all pairs, all base contexts: -0." in result.claims[0]


@pytest.mark.parametrize(
    ("base", "size", "pair", "said"),
    [
        (5.0, -1.0, 1.0, "lower feature 3 by 1 together, less than the 2 of each added up"),
        (5.0, -1.0, -1.0, "lower feature 3 by 3 together, more than the 2 of each added up"),
        (2.0, 1.0, -0.5, "raise feature 3 by 1.5 together, less than the 2 of each added up"),
        (2.0, 1.0, 1.0, "raise feature 3 by 3 together, more than the 2 of each added up"),
        (5.0, -1.0, 3.0, "change feature 3 by +1 together, where each by itself adds up to -2"),
    ],
)
def test_an_interaction_is_named_by_what_both_do(
    inputs: FeatureInputs, base: float, size: float, pair: float, said: str
) -> None:
    result = run(inputs, lambda rung, there: base + size * (rung >= 3) + size * there + pair * (rung >= 3 and there))
    assert custom(result)["interaction_sign"] == ("positive" if pair > 0 else "negative")
    assert said in result.claims[0]


def test_the_claim_quotes_the_held_out_half(inputs: FeatureInputs) -> None:
    """Where noise moves every cell, the number claimed is that of the half that did not choose."""
    noise, generator = dict[object, float](), np.random.default_rng(5)
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain

    def activation(context: Context) -> float:
        both = domain.rung(context, "quick_respawn") >= 3 and domain.has(context, "comeback")
        return 8.0 + 2 * both + noise.setdefault(context.key, generator.normal(0, 0.7))

    spec = ExperimentSpec.parse(
        {"type": "heatmap", "feature_id": FEATURE, "dataset_slice": {"sample_size": 120},
         "variables": {"family_x": "QR", "family_y": "comeback", "rungs_x": [3, 6, 12]}}
    )  # fmt: skip
    result = get_runner_for_type("heatmap").run(spec, plant_feature(inputs, FEATURE, activation))
    rows: Any = {row["pair"]: row for row in result.tables["held_out"].rows if row["holds"]}
    row = rows[custom(result)["interaction_pair"]]
    assert custom(result)["interaction_of_pair"] == row["held_out_delta"]
    assert row["held_out_low"] < row["held_out_delta"] < row["held_out_high"]
    assert row["together"] - row["added_up"] == pytest.approx(row["held_out_delta"])
    quoted = f"{row['held_out_delta']:+.3g} [{row['held_out_low']:+.3g}, {row['held_out_high']:+.3g}]"
    assert f"{quoted}, n = {row['held_out_n']}, p = " in result.claims[0]
    assert row["held_out_n"] < result.diagnostics.n_contexts_tested


def test_noise_that_lifts_a_corner_over_the_floor_makes_no_claim(inputs: FeatureInputs) -> None:
    """The lowest corner lies below the floor; where noise lifts it above, the second difference is above 0 too."""
    noise: dict[object, float] = {}
    generator = np.random.default_rng(8)
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain

    def activation(context: Context) -> float:
        rung, there = domain.rung(context, "quick_respawn"), domain.has(context, "comeback")
        return 2.5 - 1.5 * (rung >= 3) - 1.5 * there + noise.setdefault(context.key, generator.normal(0, 0.5))

    spec = ExperimentSpec.parse(
        {"type": "heatmap", "feature_id": FEATURE, "dataset_slice": {"sample_size": 300},
         "variables": {"family_x": "QR", "family_y": "comeback", "rungs_x": [3, 12]}}
    )  # fmt: skip
    result = get_runner_for_type("heatmap").run(spec, plant_feature(inputs, FEATURE, activation))
    assert custom(result)["interaction_sign"] == "positive"  # of the activation, by the floor
    assert not custom(result)["interaction_is_free_of_floor"]
    assert custom(result)["interaction_before_floor"] == pytest.approx(0.0, abs=0.12)
    assert result.claims == ()


def test_rows_show_the_planted_interaction_too(inputs: FeatureInputs) -> None:
    result = run(inputs, lambda rung, there: 5.0 + there + 3 * (there and rung > 0), "observational",
                 rungs_x=[], confounders=[])  # fmt: skip
    assert custom(result)["interaction_sign"] == "positive"
    assert custom(result)["interaction"] == pytest.approx(3.0, abs=0.1)
    assert result.evidence == "observational"


def test_one_family_on_both_axes_is_refused(inputs: FeatureInputs) -> None:
    spec = ExperimentSpec(type="heatmap", feature_id=FEATURE, variables={"family_x": "QR", "family_y": "quick_respawn"})
    result = get_runner_for_type("heatmap").run(spec, plant_feature(inputs, FEATURE, lambda _: 1.0))
    assert "on both axes" in str(result.error_message)


def test_means_of_single_rows_have_the_intervals_of_resampled_ones() -> None:
    generator = np.random.default_rng(int(np.random.default_rng(12).integers(1 << 30)))
    axes = GridAxis("a", (0, 1), True), GridAxis("b", (0, 3, 6), False)
    cell = generator.choice(6, 4000, p=[0.4, 0.3, 0.15, 0.1, 0.049, 0.001])
    values = generator.exponential(size=4000) + cell
    rows = []
    for clusters in (np.arange(4000), np.arange(4000)[::-1]):
        findings = Findings()
        write_row_means(values, cell, clusters, *axes, findings, 0)
        rows.append([dict(row) for row in findings.tables["grid_means"].rows])
    for fast, slow in zip(*rows, strict=True):
        assert (fast["n"], fast["flag"]) == (slow["n"], slow["flag"])
        assert fast["mean"] == pytest.approx(slow["mean"])
        if fast["low"] is None or not np.isfinite(fast["low"]):
            assert slow["low"] is None or not np.isfinite(slow["low"])
        else:
            assert fast["high"] - fast["low"] == pytest.approx(slow["high"] - slow["low"], rel=0.12)
