"""Modulators: planted three-way terms come back with their sign; what leaves the interaction as it is, is not named."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model

from mechscope.corpora.domain import Context
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
PAIR = ("comeback", "quick_respawn_6")
MODULATORS = ("stealth_jump", "special_charge_up_3", "ink_saver_sub_3")
MASTER = 20250608

Reader = Callable[[Context], dict[str, bool]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("modulators")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


@pytest.fixture(scope="module")
def present(inputs: FeatureInputs) -> Reader:
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    known: dict[object, dict[str, bool]] = {}

    def read(context: Context) -> dict[str, bool]:
        if context.key not in known:
            families = {name: name.rsplit("_", 1) for name in (*PAIR, *MODULATORS) if name[-1].isdigit()}
            found = {name: domain.rung(context, family) >= int(rung) for name, (family, rung) in families.items()}
            found |= {name: domain.has(context, name) for name in ("comeback", "stealth_jump")}
            known[context.key] = found | {"splattershot": domain.group(context, "weapon") == "Splattershot"}
        return known[context.key]

    return read


def noise_of(seed: int, size: float) -> Callable[[Context], float]:
    generator, known = np.random.default_rng(seed), dict[object, float]()
    return lambda context: known.setdefault(context.key, float(generator.normal(0, size)))


def run(
    context: ExperimentContext, mode: str = "interventional", n_bases: int = 100, **variables: Any
) -> ExperimentResult:
    asked = {"pair": PAIR, "modulators": MODULATORS, "observed_beside": False} | variables
    spec = ExperimentSpec.parse(
        {"type": "conditional_interactions", "feature_id": FEATURE, "mode": mode, "outputs": {"figures": True},
         "dataset_slice": {"sample_size": n_bases} if mode == "interventional" else {},
         "variables": json.loads(json.dumps(asked))}
    )  # fmt: skip
    result = get_runner_for_type("conditional_interactions").run(spec, context)
    assert result.success, result.error_message
    return result


def rows_of(result: ExperimentResult, table: str = "conditional_interactions") -> dict[str, Any]:
    return {str(row["modulator"]): row for row in result.tables[table].rows}


@pytest.mark.parametrize("draw", range(3))
def test_planted_modulators_come_back_with_their_sign(inputs: FeatureInputs, present: Reader, draw: int) -> None:
    generator = np.random.default_rng([MASTER, draw])
    order = generator.permutation(MODULATORS).tolist()
    up, down = generator.uniform(0.8, 1.5, 2).tolist()
    base = float(generator.uniform(-1, 1))
    noise = noise_of(draw, 0.15)

    def activation(context: Context) -> float:
        has = present(context)
        both = has[PAIR[0]] and has[PAIR[1]]
        alone = sum(has[name] for name in MODULATORS) + 0.5 * has[order[2]] * has[PAIR[0]]  # no three-way term
        return float(6.0 + alone + both * (base + up * has[order[0]] - down * has[order[1]]) + noise(context))

    result = run(plant_feature(inputs, FEATURE, activation))
    rows = rows_of(result)
    assert [rows[name]["verdict"] for name in order] == ["raises the interaction", "lowers the interaction", ""]
    for name, size in zip(order, (up, -down, 0.0), strict=True):
        row = rows[name]
        assert row["mean_delta"] == pytest.approx(size, abs=0.25)
        assert row["mean_delta"] == pytest.approx(row["with"] - row["without"])
    assert len(result.claims) == 2
    assert result.aggregates.custom["modulators"] == sorted(order[:2], key=lambda name: -abs(rows[name]["mean_delta"]))
    assert len(result.figures["modulators"].traces) == 2


def test_the_pair_without_and_with_the_modulator_is_told(inputs: FeatureInputs, present: Reader) -> None:
    def activation(context: Context) -> float:
        has = present(context)
        both = has[PAIR[0]] and has[PAIR[1]]
        return 4.0 + both * (1.0 - 2.5 * has["stealth_jump"])

    result = run(plant_feature(inputs, FEATURE, activation), modulators=["stealth_jump"])
    row = rows_of(result)["stealth_jump"]
    assert (row["without"], row["with"], row["mean_delta"]) == pytest.approx((1.0, -1.5, -2.5))
    assert "turning its sign" in result.claims[0]
    corners: Any = result.tables["corners"].rows
    assert [row["modulated"] for row in corners] == ["without", "with"]
    means = [row[f"mean_{name}"] for row in corners for name in ("none", "first", "second", "both")]
    assert means == pytest.approx([4, 4, 4, 5, 4, 4, 4, 2.5])


def test_a_weapon_can_modulate_and_be_held(inputs: FeatureInputs, present: Reader) -> None:
    def activation(context: Context) -> float:
        has = present(context)
        both = has[PAIR[0]] and has[PAIR[1]]
        return 4.0 + both * (0.5 + 1.5 * has["splattershot"] * (1 + has["stealth_jump"]))

    context = plant_feature(inputs, FEATURE, activation)
    row = rows_of(run(context, modulators=["weapon=Splattershot"], stable_tokens=["stealth_jump"]))
    assert row["weapon=Splattershot"]["mean_delta"] == pytest.approx(3.0)
    assert row["weapon=Splattershot"]["verdict"] == "raises the interaction"
    held = rows_of(run(context, modulators=["stealth_jump"], stable_weapon="Splattershot"))["stealth_jump"]
    assert (held["without"], held["with"]) == pytest.approx((2.0, 3.5))


def test_a_floor_makes_three_way_terms_that_are_not_claimed(inputs: FeatureInputs, present: Reader) -> None:
    def activation(context: Context) -> float:
        has = present(context)
        return -2.5 + has[PAIR[0]] + has[PAIR[1]] + has["stealth_jump"]

    context = plant_feature(inputs, FEATURE, activation)
    for scale in (None, "activation"):
        result = run(context, modulators=["stealth_jump"], scale=scale)
        assert result.claims == ()
    assert rows_of(result)["stealth_jump"]["mean_delta"] == pytest.approx(0.5)
    scales = rows_of(result, "scales")["stealth_jump"]
    assert (scales["pre_activation"], scales["diagnosis"]) == (pytest.approx(0.0, abs=1e-9), "made")


def test_null_modulators_are_named_at_most_alpha(inputs: FeatureInputs, present: Reader) -> None:
    n_claiming, n_runs = 0, 40
    context = plant_feature(inputs, FEATURE, lambda _: 1.0)
    for draw in range(n_runs):
        noise = noise_of(draw, 0.5)

        def activation(context: Context, noise: Any = noise) -> float:
            has = present(context)
            return float(5.0 + (has[PAIR[0]] and has[PAIR[1]]) + has["stealth_jump"] + noise(context))

        context.activations.function = activation  # type: ignore[attr-defined]
        n_claiming += bool(run(context, n_bases=40).claims)
    assert n_claiming <= 0.07 * n_runs


def test_rows_show_a_planted_modulator(inputs: FeatureInputs, present: Reader) -> None:
    pair, noise = ("quick_respawn_3", "special_charge_up_3"), noise_of(2, 0.2)
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain

    def activation(context: Context) -> float:
        has = [domain.rung(context, name) >= 3 for name in ("quick_respawn", "special_charge_up", "ink_saver_sub")]
        return 3.0 + 0.5 * (has[0] and has[1]) + 2.0 * all(has) + noise(context)

    context = plant_feature(inputs, FEATURE, activation)
    result = run(context, "observational", pair=pair, modulators=["ink_saver_sub_3", "swim_speed_up_3"])
    rows = rows_of(result)
    assert rows["ink_saver_sub_3"]["mean_delta"] == pytest.approx(2.0, abs=0.2)
    assert [rows[name]["verdict"] for name in ("ink_saver_sub_3", "swim_speed_up_3")] == ["larger interaction", ""]
    assert "associated" in result.claims[0]
    beside = run(context, pair=pair, modulators=["ink_saver_sub_3"], observed_beside=True)
    row = rows_of(beside, "observed_interactions")["ink_saver_sub_3"]
    assert row["adjusted"] == pytest.approx(row["corpus_delta"], abs=0.3)
    assert beside.findings == ()


def test_without_a_pair_the_strongest_of_the_candidates_is_taken(inputs: FeatureInputs, present: Reader) -> None:
    def activation(context: Context) -> float:
        has = present(context)
        both = has["comeback"] and has["stealth_jump"]
        return 5.0 + has["comeback"] + has["stealth_jump"] + both * (2.0 + has["quick_respawn_6"])

    result = run(plant_feature(inputs, FEATURE, activation), pair=None, modulators=[])
    assert sorted(result.aggregates.custom["pair"]) == ["comeback", "stealth_jump"]  # type: ignore[type-var,arg-type]
    assert "candidates" in result.tables


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"modulators": ["quick_respawn_3"]}, "both set quick_respawn"),
        ({"modulators": ["comeback"]}, "named twice"),
        ({"modulators": ["stelth_jump"]}, "stealth_jump"),
        ({"pair": ["comeback"]}, "pair"),
        ({"modulators": ["special=Ink Storm"]}, "special cannot be set"),
        ({"stable_tokens": ["comeback"]}, "both set"),
        ({"mode": "observational", "scale": "log"}, "stored rows"),
    ],
)
def test_bad_questions_are_refused(inputs: FeatureInputs, variables: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"pair": list(PAIR), "modulators": ["stealth_jump"]} | variables
    spec = ExperimentSpec.parse(
        {"type": "conditional_interactions", "feature_id": FEATURE, "mode": asked.pop("mode", None), "variables": asked}
    )
    result = get_runner_for_type(spec.type).run(spec, plant_feature(inputs, FEATURE, lambda _: 1.0))
    assert not result.success
    assert message in str(result.error_message)
