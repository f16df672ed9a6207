"""Rungs of one family: planted reversals, saturation and sums come back; the probe off the distribution says so."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model

from mechscope.core import UsageError
from mechscope.corpora.domain import Context, Family
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.rungs import Ladder, weighted_sums
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

FEATURE, FAMILY = 3, "quick_respawn"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("within")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


def by_rung(inputs: FeatureInputs, curve: Callable[[int], float], *, noise: float = 0.0) -> ExperimentContext:
    """A feature that follows quick respawn's rung, with noise that is the same for equal contexts."""
    domain = domain_for(inputs.corpus)

    def activation(context: Context) -> float:
        drawn = np.random.default_rng((*context.tokens, 7)).normal() if noise else 0.0
        return curve(domain.rung(context, FAMILY)) + noise * drawn

    return plant_feature(inputs, FEATURE, activation)


def run(context: ExperimentContext, mode: str = "interventional", **more: Any) -> ExperimentResult:
    constraints = more.pop("constraints", ())
    given = {"type": "interference", "feature_id": FEATURE, "mode": mode, "constraints": constraints,
             "outputs": {"figures": True}, "dataset_slice": {"sample_size": 80} if mode == "interventional" else {},
             "variables": {"family": "QR", "rungs": [3, 6, 12, 15], **more}}  # fmt: skip
    return get_runner_for_type("interference").run(ExperimentSpec.parse(given), context)


def rows_of(result: ExperimentResult, table: str) -> dict[tuple[int, int], Any]:
    assert result.success, result.error_message
    return {(int(str(row["lower"])), int(str(row["higher"]))): row for row in result.tables[table].rows}


def custom(result: ExperimentResult) -> Any:
    return result.aggregates.custom


def test_a_rung_that_takes_back_what_a_lower_one_gave_interferes(inputs: FeatureInputs) -> None:
    result = run(by_rung(inputs, lambda rung: 3 + 2 * (rung >= 3) - 1.5 * (rung >= 15)), pairs=[[3, 15], [3, 12]])
    pairs = rows_of(result, "pairs")
    assert pairs[3, 15]["mean_delta"] == pytest.approx(-1.5)
    assert pairs[0, 3]["mean_delta"] == pytest.approx(2.0)
    assert pairs[3, 12]["mean_delta"] == pytest.approx(0.0)
    assert custom(result)["interfering_pairs"] == [[12, 15], [3, 15]]
    assert (pairs[3, 15]["interferes"], pairs[3, 12]["interferes"]) == (True, False)
    assert custom(result)["shape"] == "non-monotone"
    assert any("lowers feature 3 by 1.5" in claim and "interfere" in claim for claim in result.claims)
    assert 0 < pairs[3, 15]["p"] <= pairs[3, 15]["p_corrected"] < 0.05
    assert pairs[3, 15]["held_out_p"] < 0.05
    assert result.figures["increments"].traces[0]["x"] == ["3", "6", "12", "15"]


def test_saturation_is_told_from_a_sum(inputs: FeatureInputs) -> None:
    step = {0: 0, 3: 1, 6: 2, 12: 3, 15: 4, 21: 5, 29: 6, 38: 7, 51: 8, 57: 9}
    additive = run(by_rung(inputs, lambda rung: 2.0 + step[rung]))
    assert custom(additive)["shape"] == "additive"
    assert all(row["mean_delta"] == pytest.approx(0) for row in rows_of(additive, "bends").values())
    assert additive.claims == ()
    assert all(row["verdict"] == "rises" for row in rows_of(additive, "steps").values())
    saturated = run(by_rung(inputs, lambda rung: 2.0 + min(step[rung], 2)))
    assert custom(saturated)["shape"] == "saturating"
    bends = rows_of(saturated, "bends")
    assert bends[6, 15]["mean_delta"] == pytest.approx(-1.0)
    assert bends[3, 6]["mean_delta"] == pytest.approx(0.0)
    assert bends[3, 12]["mean_delta"] == pytest.approx(0.5 - 1)
    assert [claim for claim in saturated.claims if "by +0 a step" in claim or ", less than the 1 up to 6" in claim]
    accelerating = run(by_rung(inputs, lambda rung: 2.0 + step[rung] ** 2))
    assert custom(accelerating)["shape"] == "accelerating"
    units = run(by_rung(inputs, lambda rung: 2.0 + rung / 10), scale="unit")
    assert custom(units)["shape"] == "additive"


def test_a_bend_that_the_floor_makes_is_not_claimed(inputs: FeatureInputs) -> None:
    result = run(by_rung(inputs, lambda rung: -2.0 + (rung >= 3) + (rung >= 6) + (rung >= 12) + (rung >= 15)))
    bends = rows_of(result, "bends")
    assert bends[6, 15]["mean_delta"] == pytest.approx(1.0)
    assert bends[6, 15]["before_floor"] == pytest.approx(0.0)
    assert not [claim for claim in result.claims if "add up" in claim]
    assert any("the ReLU may have made it" in text for text in result.diagnostics.warnings)


def test_a_bend_is_told_by_what_its_steps_do(inputs: FeatureInputs) -> None:
    """What takes away is never said to add."""
    step = {0: 0, 3: 1, 6: 2, 12: 3, 15: 4, 21: 5, 29: 6, 38: 7, 51: 8, 57: 9}
    curves: list[tuple[Callable[[int], float], str]] = [
        (lambda rung: 20.0 - step[rung] ** 2, "lowers feature 3 by 6 a step, more than the 2 up to 6"),
        (lambda rung: 20.0 - (3 * step[rung] - step[rung] ** 2 / 4), "less than the"),
        (lambda rung: 9.0 + step[rung] - 3 * max(0, step[rung] - 3), "changes feature 3 by -2 a step, where the rungs"),
    ]
    for curve, said in curves:
        pairs = [[3, 15]] if "less" in said else [[6, 15]] if "by 6" in said else [[12, 15]]
        result = run(by_rung(inputs, curve), pairs=pairs)
        (claim,) = [text for text in result.claims if "do not add up" in text]
        assert said in claim
        assert "adds" not in claim
        assert " held-out half: " in claim


def test_the_claim_quotes_the_half_that_confirmed(inputs: FeatureInputs) -> None:
    result = run(by_rung(inputs, lambda rung: 6 + 2 * (rung >= 3) - 1.5 * (rung >= 15), noise=0.5))
    claim = next(text for text in result.claims if "the rungs interfere" in text)
    pairs = rows_of(result, "pairs").values()
    row = max((row for row in pairs if row["interferes"]), key=lambda row: abs(row["mean_delta"]))
    assert f"by {abs(row['held_out_delta']):.3g} ({row['held_out_delta']:+.3g} [{row['held_out_low']:+.3g}, " in claim
    assert f"n = {row['held_out_n']}, p = " in claim
    assert row["held_out_low"] < row["held_out_delta"] < row["held_out_high"]


def test_a_suppressor_that_only_suppresses_does_not_interfere(inputs: FeatureInputs) -> None:
    result = run(by_rung(inputs, lambda rung: 9.0 - 2 * (rung >= 3) - 2 * (rung >= 12)))
    assert custom(result)["interfering_pairs"] == []
    assert custom(result)["shape"] != "non-monotone"


def test_no_pair_is_left_out_in_silence(inputs: FeatureInputs) -> None:
    context = by_rung(inputs, lambda rung: 2.0 + rung / 10)
    snapped = run(context, rungs=[], pairs=[[3, 16]])
    assert rows_of(snapped, "pairs")[3, 15]["n"] > 0
    assert any("16 has no token" in text for text in snapped.diagnostics.warnings)
    for pairs, seen in (([[3, 14]], "no rung 14"), ([[15, 16]], "are one rung, 15")):
        refused = run(context, rungs=[], pairs=pairs)
        assert not refused.success
        assert seen in str(refused.error_message)
    reversed_ = run(context, pairs=[[15, 3]])
    assert "lower rung first" in str(reversed_.error_message)
    tall = run(context, rungs=[], pairs=[[3, 57]], stable_tokens=["comeback"])
    assert custom(tall)["untested_pairs"] == [[0, 57], [3, 57]]
    assert any("3 and 57" in text and "not measured" in text for text in tall.diagnostics.warnings)


def test_the_probe_is_labelled_and_forbidden_where_contexts_must_be_familiar(inputs: FeatureInputs) -> None:
    lowest = inputs.corpus.vocabulary.index(f"{FAMILY}_3")
    domain = domain_for(inputs.corpus)
    planted = plant_feature(
        inputs, FEATURE, lambda context: 3 + 2.0 * (lowest in context.tokens) + 1.0 * (domain.rung(context, FAMILY) > 0)
    )
    result = run(planted, pairs=[[3, 6]], rungs=[], probe_lower=True)
    table = result.tables["off_distribution_probe"]
    assert table.caption.startswith("OFF-DISTRIBUTION")
    assert rows_of(result, "off_distribution_probe")[3, 6]["mean_delta"] == pytest.approx(2.0)
    assert not any("off" in claim for claim in result.claims)
    forbidden = run(planted, pairs=[[3, 6]], rungs=[], probe_lower=True, constraints=["avoid_ood_token_combinations"])
    assert "off_distribution_probe" not in forbidden.tables
    assert [v.constraint for v in forbidden.diagnostics.constraint_violations if "probe" in v.message] == [
        "avoid_ood_token_combinations"
    ]


def test_rows_without_adjustment_are_differences_of_means(inputs: FeatureInputs) -> None:
    curve = {0: 1.0, 3: 4.0, 6: 4.0, 12: 4.0, 15: 2.0}
    context = by_rung(inputs, lambda rung: curve.get(rung, 2.0), noise=0.3)
    result = run(context, "observational", confounders=[])
    values, rungs = context.row_activations(FEATURE), context.family_rungs(FAMILY)
    pairs = rows_of(result, "pairs")
    for lower, higher in ((0, 3), (3, 15), (12, 15)):
        first, second = values[rungs == lower], values[rungs == higher]
        assert pairs[lower, higher]["mean_delta"] == pytest.approx(second.mean() - first.mean())
        error = np.sqrt(first.var() / len(first) + second.var() / len(second))
        assert pairs[lower, higher]["std_error"] == pytest.approx(error, rel=0.01)
        assert pairs[lower, higher]["n"] == min(len(first), len(second))
    assert pairs[3, 15]["interferes"]
    assert custom(result)["shape"] == "non-monotone"
    assert all("associated" in claim for claim in result.claims)
    adjusted = run(context, "observational")
    assert abs(rows_of(adjusted, "pairs")[3, 15]["mean_delta"] + 2) < 0.3


def test_rows_that_differ_where_nothing_acts_are_a_finding(inputs: FeatureInputs) -> None:
    """The feature follows another family; rows with both rungs high in that one are all that rungs go with."""
    planted = by_rung(inputs, lambda rung: 3.0)
    rungs, values = planted.family_rungs(FAMILY), planted.row_activations(FEATURE).copy()
    values[rungs >= 12] += 2.0  # the stored rows differ by rung; what is computed does not
    planted._row_activations[FEATURE] = values
    result = run(planted, confounders=[])
    pairs, beside = rows_of(result, "pairs"), rows_of(result, "observed_pairs")
    assert pairs[3, 12]["mean_delta"] == pytest.approx(0)
    expected = values[rungs == 12].mean() - values[rungs == 3].mean()
    assert beside[3, 12]["mean_delta"] == pytest.approx(expected)
    assert any("3 -> 12" in text and "changes nothing" in text for text in result.findings)
    assert not any("6 -> 3" in text or "3 -> 6 " in text for text in result.findings)
    agreeing = run(by_rung(inputs, lambda rung: 3.0 + (rung >= 6), noise=0.1))
    assert agreeing.findings == ()
    opposite = by_rung(inputs, lambda rung: 3.0 + (rung >= 12), noise=0.1)
    opposite._row_activations[FEATURE] = 6 - opposite.row_activations(FEATURE)
    assert any("opposite directions at 6 -> 12" in text for text in run(opposite).findings)
    assert "observed_pairs" not in run(opposite, observed_beside=False).tables


def test_null_features_claim_nothing_and_the_half_that_confirms_did_not_choose(inputs: FeatureInputs) -> None:
    n_claiming = 0
    for seed in range(12):
        generator, known = np.random.default_rng([31, seed]), dict[object, float]()

        def noise(context: Context, generator: Any = generator, known: Any = known) -> float:
            return float(known.setdefault(context.key, generator.normal(3, 0.5)))

        result = run(plant_feature(inputs, FEATURE, noise), min_effect=0.0)
        n_claiming += bool(result.claims)
    assert n_claiming <= 1  # the chance of two or more at 5 % each, chosen and confirmed, is far below 1 %


def test_ladders_against_the_definitions() -> None:
    generator = np.random.default_rng(11)
    ladder, values = Ladder((0, 3, 6, 15), (0, 3, 6, 15), "unit"), generator.normal(size=(5, 4))
    at = {level: values[:, column] for column, level in enumerate(ladder.levels)}
    increments = weighted_sums(values, ladder.increment_weights())
    for column, (a, b) in enumerate(ladder.increments):
        np.testing.assert_allclose(increments[:, column], at[b] - at[a])
    bends = weighted_sums(values, ladder.bend_weights())
    for column, (a, b) in enumerate(ladder.pairs):
        np.testing.assert_allclose(bends[:, column], (at[b] - at[a]) / (b - a) - (at[a] - at[0]) / a)
    assert ladder.pairs == ((3, 6), (3, 15), (6, 15))
    values[0, 2] = np.nan
    assert np.isnan(weighted_sums(values, ladder.increment_weights())).sum() == 3  # every increment with rung 6
    assert ladder.distances(3, 15) == (3, 12)
    assert ladder.without_reference().pairs == ((6, 15),)
    stepwise = Ladder.of(Family("f", (3, 6, 12, 15), ((1,), (2,), (3,), (4,))), (0, 3, 15), "step")
    np.testing.assert_allclose(stepwise.bend_weights(), [[1.0, -1 / 3 - 1, 1 / 3]])  # 6 and 12 are steps, too
    with pytest.raises(UsageError, match="two rungs"):
        Ladder((0, 3), (0, 1)).without_reference()
