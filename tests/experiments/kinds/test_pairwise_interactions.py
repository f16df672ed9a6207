"""Pairs: planted signs come back on real builds, additive pairs claim nothing, and what a floor makes is said to be."""

import json
import math
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model

from mechscope.corpora.domain import Context
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.algorithms.shapiq_indices import has_shapiq
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.findings import Findings
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
TOKENS = ("comeback", "stealth_jump", "ninja_squid", "special_charge_up_6", "quick_respawn_3", "ink_saver_sub_3")
MASTER = 20250607
ALPHA = 0.05


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("pairs")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


Reader = Callable[[Context], dict[str, bool]]


@pytest.fixture(scope="module")
def present(inputs: FeatureInputs) -> Reader:
    """Which of the tokens a context has."""
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    rungs = {name: (name.rsplit("_", 1)[0], int(name.rsplit("_", 1)[1])) for name in TOKENS if name[-1].isdigit()}

    known: dict[object, dict[str, bool]] = {}

    def read(context: Context) -> dict[str, bool]:
        if context.key not in known:
            found = {name: domain.rung(context, family) >= rung for name, (family, rung) in rungs.items()}
            known[context.key] = found | {name: domain.has(context, name) for name in TOKENS if name not in rungs}
        return known[context.key]

    return read


def noise_of(seed: int, size: float) -> Callable[[Context], float]:
    """Noise that is a function of the context."""
    generator, known = np.random.default_rng(seed), dict[object, float]()
    return lambda context: known.setdefault(context.key, float(generator.normal(0, size)))


def run(
    context: ExperimentContext, mode: str = "interventional", n_bases: int = 60, constraints: Any = (), **variables: Any
) -> ExperimentResult:
    quick: dict[str, Any] = {"tokens": TOKENS, "players": 0, "observed_beside": False}
    asked = (quick if mode == "interventional" else {"tokens": TOKENS}) | variables
    spec = ExperimentSpec.parse(
        {"type": "interactions", "feature_id": FEATURE, "mode": mode, "outputs": {"figures": True},
         "dataset_slice": {"sample_size": n_bases} if mode == "interventional" else {},
         "constraints": constraints, "variables": json.loads(json.dumps(asked))}
    )  # fmt: skip
    result = get_runner_for_type("pairwise_interactions").run(spec, context)
    assert result.success, result.error_message
    return result


def pairs_of(result: ExperimentResult, table: str = "pair_interactions") -> dict[frozenset[str], Any]:
    return {frozenset((str(row["first"]), str(row["second"]))): row for row in result.tables[table].rows}


@pytest.mark.parametrize("draw", range(3))
def test_planted_signs_come_back_and_no_other_pair_is_named(inputs: FeatureInputs, present: Reader, draw: int) -> None:
    generator = np.random.default_rng([MASTER, draw])
    order = generator.permutation(TOKENS).tolist()
    kinds = generator.permutation(["and", "or", "additive"]).tolist()
    sizes = generator.uniform(0.8, 2.0, 3)
    planted = [
        (order[2 * at], order[2 * at + 1], kind, size) for at, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
    ]
    noise = noise_of(draw, 0.2)

    def activation(context: Context) -> float:
        has, total = present(context), 5.0
        for first, second, kind, size in planted:
            a, b = has[first], has[second]
            total += size * {"and": a and b, "or": a or b, "additive": a + b}[kind]
        return total + noise(context)

    result = run(plant_feature(inputs, FEATURE, activation))
    expected = {"and": ("synergy", 1), "or": ("redundancy", -1), "additive": ("", 0)}
    rows = pairs_of(result)
    assert len(rows) == 15
    for first, second, kind, size in planted:
        row = rows.pop(frozenset((first, second)))
        word, sign = expected[kind]
        assert row["verdict"] == word
        assert row["mean_delta"] == pytest.approx(sign * size, abs=0.25)
        assert row["low"] - 0.1 <= sign * size <= row["high"] + 0.1
        alone = {"and": 0.0, "or": size, "additive": size}[kind]
        assert (row["alone_first"], row["alone_second"]) == pytest.approx((alone, alone), abs=0.25)
    assert {row["verdict"] for row in rows.values()} == {""}
    assert len(result.claims) == 2
    assert result.figures["pairs"].traces[0]["type"] == "heatmap"


def test_an_interaction_that_the_floor_makes_is_diagnosed_and_not_claimed(
    inputs: FeatureInputs, present: Reader
) -> None:
    def activation(context: Context) -> float:
        has = present(context)
        return -2.0 + 1.5 * has["comeback"] + 1.8 * has["stealth_jump"]  # adds up; above 0 with both alone

    context = plant_feature(inputs, FEATURE, activation)
    pair = frozenset(("comeback", "stealth_jump"))
    before = run(context)
    row = pairs_of(before)[pair]
    assert row["mean_delta"] == pytest.approx(0.0, abs=1e-9)
    assert row["verdict"] == ""
    assert before.claims == ()
    scales, corners = pairs_of(before, "scales")[pair], pairs_of(before, "corners")[pair]
    assert scales["activation"] == pytest.approx(1.3)
    assert (scales["diagnosis"], scales["n_above_floor"]) == ("made", 0)
    assert [corners[f"zero_{name}"] for name in ("none", "first", "second", "both")] == [1, 1, 1, 0]
    assert any("the floor makes" in text and "comeback and stealth_jump" in text for text in before.findings)
    after = run(context, scale="activation")
    assert pairs_of(after)[pair]["mean_delta"] == pytest.approx(1.3)
    assert pairs_of(after)[pair]["verdict"] == ""
    assert after.claims == ()


def test_effects_that_multiply_interact_and_have_nothing_left_in_the_logarithm(
    inputs: FeatureInputs, present: Reader
) -> None:
    def activation(context: Context) -> float:
        has = present(context)
        return 2.0 * (2.0 if has["comeback"] else 1.0) * (3.0 if has["stealth_jump"] else 1.0)

    result = run(plant_feature(inputs, FEATURE, activation))
    pair = frozenset(("comeback", "stealth_jump"))
    assert pairs_of(result)[pair]["mean_delta"] == pytest.approx(2 * (6 - 3 - 2 + 1))
    scales = pairs_of(result, "scales")[pair]
    assert scales["log"] == pytest.approx(0.0, abs=1e-9)
    assert scales["diagnosis"] == "free"
    assert any("multiply rather than add" in text for text in result.findings)
    assert run(plant_feature(inputs, FEATURE, activation), scale="log").claims == ()


def test_null_features_claim_at_most_alpha(inputs: FeatureInputs, present: Reader) -> None:
    n_claiming, n_runs = 0, 40
    context = plant_feature(inputs, FEATURE, lambda _: 1.0)
    for draw in range(n_runs):
        generator = np.random.default_rng([MASTER, 7, draw])
        weights = dict(zip(TOKENS, generator.normal(0, 1, len(TOKENS)).tolist(), strict=True))
        noise = noise_of(draw, 0.5)

        def activation(context: Context, weights: dict[str, float] = weights, noise: Any = noise) -> float:
            return float(4.0 + sum(weights[name] for name, has in present(context).items() if has) + noise(context))

        context.activations.function = activation  # type: ignore[attr-defined]
        n_claiming += bool(run(context, n_bases=30, tokens=TOKENS[:4]).claims)
    assert n_claiming <= (ALPHA + 0.02) * n_runs


def test_what_is_held_constant_conditions_the_interaction(inputs: FeatureInputs, present: Reader) -> None:
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain

    def activation(context: Context) -> float:
        has = present(context)
        both = has["comeback"] and has["stealth_jump"]
        return 5.0 + both * (2.0 * has["quick_respawn_3"] - 3.0 * (domain.group(context, "weapon") == "Splattershot"))

    context, pair = plant_feature(inputs, FEATURE, activation), [("comeback", "stealth_jump")]
    held = run(context, tokens=(), pairs=pair, stable_tokens=["quick_respawn_3"], n_bases=100)
    assert held.aggregates.custom["top_synergy"] == ["comeback", "stealth_jump"]
    armed = run(context, tokens=(), pairs=pair, stable_weapon="splattershot", n_bases=100)
    assert pairs_of(armed)[frozenset(pair[0])]["verdict"] == "redundancy"
    # the weapon itself as one of two factors
    weapon = run(context, tokens=("comeback", "weapon=Splattershot"), stable_tokens=["stealth_jump"], n_bases=100)
    row = pairs_of(weapon)[frozenset(("comeback", "weapon=Splattershot"))]
    assert (row["verdict"], row["mean_delta"]) == ("redundancy", pytest.approx(-3.0))


def test_candidates_are_the_drivers_and_the_held_out_half_does_not_choose_them(
    inputs: FeatureInputs, present: Reader
) -> None:
    def activation(context: Context) -> float:
        has = present(context)
        return 5.0 + 2.0 * has["comeback"] - 1.5 * has["stealth_jump"] + has["quick_respawn_3"]

    context = plant_feature(inputs, FEATURE, activation)
    chosen = run(context, tokens=(), top_k=3)
    names = chosen.tables["candidates"].column("token")
    assert names[:2] == ["comeback", "stealth_jump"]
    assert str(names[2]).startswith("quick_respawn")
    spec = ExperimentSpec.parse({"type": "interactions", "feature_id": FEATURE, "dataset_slice": {"sample_size": 60}})
    bases = draw_bases(spec, context, Findings())
    held_out = {base.row for base, is_held in zip(bases.contexts, bases.is_held_out, strict=True) if is_held}
    assert 20 < len(held_out) < 40
    context.activations.function = lambda c: (  # type: ignore[attr-defined]
        activation(c) + 50.0 * (c.row in held_out) * present(c)["ink_saver_sub_3"]
    )
    assert run(context, tokens=(), top_k=3).tables["candidates"].rows == chosen.tables["candidates"].rows


@pytest.mark.parametrize("draw", range(2))
def test_shapley_and_banzhaf_are_their_definitions(inputs: FeatureInputs, present: Reader, draw: int) -> None:
    generator = np.random.default_rng([MASTER, 9, draw])
    players = generator.permutation(TOKENS)[:4].tolist()
    game = generator.uniform(2, 6, 16)

    def activation(context: Context) -> float:
        has = present(context)
        return float(game[sum(has[name] << bit for bit, name in enumerate(players))])

    result = run(plant_feature(inputs, FEATURE, activation), tokens=players, players=4)
    rows = pairs_of(result, "shapley_pairs")
    assert len(rows) == 6
    for i, j in combinations(range(4), 2):
        row = rows[frozenset((players[i], players[j]))]
        others = [bit for bit in range(4) if bit not in (i, j)]
        shapley, banzhaf, by_set = 0.0, 0.0, {}
        for size in range(3):
            for inside in combinations(others, size):
                s = sum(1 << bit for bit in inside)
                second = game[s | 1 << i | 1 << j] - game[s | 1 << i] - game[s | 1 << j] + game[s]
                by_set[inside] = second
                shapley += second * math.factorial(size) * math.factorial(2 - size) / math.factorial(3)
                banzhaf += second / 4
        assert row["mean_delta"] == pytest.approx(shapley)
        assert row["banzhaf"] == pytest.approx(banzhaf)
        assert (row["alone"], row["among_all"]) == pytest.approx((by_set[()], by_set[tuple(others)]))
    values = sum(row["mean_delta"] for row in result.tables["shapley_values"].rows)  # type: ignore[misc]
    assert values == pytest.approx(game[15] - game[0])


def test_indices_of_shapiq_stand_beside_or_say_what_to_install(inputs: FeatureInputs, present: Reader) -> None:
    def activation(context: Context) -> float:
        has = present(context)
        return 3.0 + 2.0 * (has["comeback"] and has["stealth_jump"]) + has["quick_respawn_3"]

    spec = ExperimentSpec.parse(
        {"type": "interactions", "feature_id": FEATURE, "dataset_slice": {"sample_size": 40},
         "variables": {"tokens": ["comeback", "stealth_jump", "quick_respawn_3"], "shapiq_indices": ["FSII", "STII"]}}
    )  # fmt: skip
    result = get_runner_for_type("interactions").run(spec, plant_feature(inputs, FEATURE, activation))
    assert result.success == has_shapiq()
    if has_shapiq():
        row = pairs_of(result, "shapley_pairs")[frozenset(("comeback", "stealth_jump"))]
        assert (row["FSII"], row["STII"]) == pytest.approx((2.0, 2.0))
    else:
        assert "mechscope[interactions]" in str(result.error_message)


def test_rows_show_a_planted_interaction_and_not_an_additive_pair(inputs: FeatureInputs, present: Reader) -> None:
    noise = noise_of(1, 0.3)

    def activation(context: Context) -> float:
        has = present(context)
        both = has["special_charge_up_6"] and has["quick_respawn_3"]
        return 3.0 + 2.0 * both + has["comeback"] + has["stealth_jump"] + noise(context)

    context = plant_feature(inputs, FEATURE, activation)
    result = run(context, "observational")
    rows = pairs_of(result)
    named = {pair for pair, row in rows.items() if row["verdict"]}
    assert named == {frozenset(("special_charge_up_6", "quick_respawn_3"))}
    assert rows[next(iter(named))]["mean_delta"] == pytest.approx(2.0, abs=0.15)
    assert "associated" in result.claims[0]
    assert not any("floor" in text for text in result.diagnostics.warnings)
    cells = pairs_of(result, "observed_corners")[next(iter(named))]
    counts = [cells[f"n_{name}"] for name in ("none", "first", "second", "both")]
    assert min(counts) > 5
    assert sum(counts) == rows[next(iter(named))]["n"] <= context.corpus.n_rows
    chosen = run(context, "observational", tokens=(), top_k=3)
    assert chosen.tables["pair_interactions"].rows


def test_rows_at_the_floor_are_warned_of(inputs: FeatureInputs, present: Reader) -> None:
    noise = noise_of(3, 0.3)

    def activation(context: Context) -> float:
        has = present(context)
        return -2.5 + 1.5 * has["special_charge_up_6"] + 2.0 * has["quick_respawn_3"] + noise(context)

    pair = [("special_charge_up_6", "quick_respawn_3")]
    result = run(plant_feature(inputs, FEATURE, activation), "observational", tokens=[], pairs=pair)
    row: Any = result.tables["observed_corners"].rows[0]
    assert row["zero_none"] == 1.0
    assert row["zero_both"] < 0.05
    assert [row["verdict"] for row in result.tables["pair_interactions"].rows] == ["more than the sum"]
    assert any("floor: in 1 of 1" in text for text in result.diagnostics.warnings)


def test_rows_that_interact_where_the_model_does_not_are_a_finding(inputs: FeatureInputs, present: Reader) -> None:
    context = plant_feature(inputs, FEATURE, lambda _: 1.0)
    has = [present(one) for one in context.contexts_of(np.arange(context.corpus.n_rows))]
    both = np.array([row["special_charge_up_6"] and row["quick_respawn_3"] for row in has])
    generator = np.random.default_rng(MASTER)
    context._row_activations[FEATURE] = 1.0 + 2.0 * both + generator.uniform(0, 0.5, len(both))
    pair = [("special_charge_up_6", "quick_respawn_3")]
    result = run(context, tokens=(), pairs=pair, observed_beside=True)
    assert result.claims == ()
    assert any("rows interact though the intervention finds nothing" in text for text in result.findings)
    model: Any = context.activations
    model.function = lambda c: 1.0 + 0.5 * (present(c)["special_charge_up_6"] and present(c)["quick_respawn_3"])
    smaller = run(context, tokens=[], pairs=pair, observed_beside=True)
    assert any("more than twice as much" in text for text in smaller.findings)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"tokens": ["comeback"]}, "one token"),
        ({"tokens": ["comeback", "stealth_jmp"]}, "stealth_jump"),
        ({"tokens": ["quick_respawn_3", "QR 6"]}, "both set quick_respawn"),
        ({"tokens": ["comeback", "comeback"]}, "one token"),
        ({"tokens": ["comeback", "haunt"], "stable_tokens": ["haunt"]}, "both set"),
        ({"tokens": ["comeback", "weapon=Splattershoot"]}, "Splattershot"),
        ({"tokens": ["comeback", "special=Ink Storm"]}, "special cannot be set"),
        ({"tokens": ["comeback", "haunt"], "pairs": [["comeback", "haunt"]]}, "both tokens and pairs"),
        ({"scale": "logit"}, "scale"),
    ],
)
def test_bad_questions_are_refused(inputs: FeatureInputs, variables: dict[str, Any], message: str) -> None:
    spec = ExperimentSpec.parse({"type": "interactions", "feature_id": FEATURE, "variables": variables})
    result = get_runner_for_type("interactions").run(spec, plant_feature(inputs, FEATURE, lambda _: 1.0))
    assert not result.success
    assert message in str(result.error_message)


def test_pairs_of_a_text(sentences: ExperimentContext) -> None:
    feature = int(sentences.inputs.store.counts().argmax())
    spec = ExperimentSpec.parse({"type": "interactions", "feature_id": feature, "dataset_slice": {"sample_size": 40}})
    result = get_runner_for_type(spec.type).run(spec, sentences)
    assert result.success, result.error_message
    rows: Any = result.tables["pair_interactions"].rows
    assert max(row["n"] for row in rows) > 5


def test_pairs_that_exclude_each_other_are_not_interpreted(inputs: FeatureInputs) -> None:
    context, pair = plant_feature(inputs, FEATURE, lambda _: 1.0), ("comeback", "last_ditch_effort")
    result = run(context, tokens=pair, n_bases=20, constraints=["valid_gear_combinations"])
    assert result.diagnostics.constraint_violations[0].constraint == "valid_gear_combinations"
    row = result.tables["pair_interactions"].rows[0]
    assert (row["n"], row["mean_delta"], row["p"]) == (0, None, None)
    assert result.tables["scales"].rows[0]["n_refused"] == 20
