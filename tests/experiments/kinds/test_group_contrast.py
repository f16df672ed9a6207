"""Two sets of rows: what differs by plan, what only goes along, and what the model is never given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_model
from planted_rows import SUB_OF, custom_of, rows_of

from mechscope.corpora.domain import Context
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.observing.confounders import confounders_of
from mechscope.experiments.observing.row_sets import named_column, row_sets
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

FEATURE = 3


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("contrasts")
    with opened(set_model(), SplatoonSource(n_rows=3000, seed=2).build(), "pooled", root) as found:
        yield found


def planted(inputs: FeatureInputs, function: Callable[[Context, Any], float]) -> ExperimentContext:
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    return plant_feature(inputs, FEATURE, lambda c: function(c, domain))


def attempt(context: ExperimentContext, mode: str, **variables: Any) -> ExperimentResult:
    spec = ExperimentSpec.parse(
        {"type": "group_contrast", "feature_id": FEATURE, "mode": mode, "variables": variables,
         "dataset_slice": {"sample_size": 40} if mode == "interventional" else {}, "outputs": {"figures": True}}
    )  # fmt: skip
    return get_runner_for_type("group_contrast").run(spec, context)


def run(context: ExperimentContext, mode: str, **variables: Any) -> ExperimentResult:
    result = attempt(context, mode, **variables)
    assert result.success, result.error_message
    return result


def estimates(result: ExperimentResult, table: str = "contrast") -> dict[str, dict[str, Any]]:
    return {row["estimate"]: row for row in rows_of(result, table)}


NUISANCES = [
    ("region", "japan", ("stealth_jump", "ninja_squid")),  # goes with stealth slayers
    ("season", "5", ("comeback", "stealth_jump")),  # with zombie slayers
]


@pytest.mark.parametrize(("column", "name", "tokens"), NUISANCES)
def test_a_planted_nuisance_is_associated_and_its_effect_zero_by_construction(
    inputs: FeatureInputs, column: str, name: str, tokens: tuple[str, str]
) -> None:
    context = planted(inputs, lambda c, domain: 2.0 * all(domain.has(c, token) for token in tokens))
    seen = run(context, "observational", column=column, first=[name], min_effect=0)
    crude = estimates(seen)["mean difference, crude"]
    assert crude["low"] > 0
    assert crude["p"] < 0.02
    for claim in seen.claims:
        assert claim.endswith("(associated)")
        assert not any(word in claim for word in ("cause", "raises", "effect"))
    assert bool(seen.claims) == custom_of(seen)["holds_in_halves"]
    done = run(context, "interventional", column=column, first=[name])
    row = estimates(done)["mean difference, set"]
    assert (row["mean_delta"], row["low"], row["high"], row["corpus_delta"], row["p"]) == (0, 0, 0, 0, 1)
    assert row["n"] == done.aggregates.n_samples == 40
    assert custom_of(done)["is_zero_by_construction"] is True
    assert "zero by construction" in done.tables["contrast"].caption
    assert any(f"{column} is no input of the model" in note for note in done.diagnostics.notes)
    assert any(f"not caused through the model by {column}" in text for text in done.findings)
    assert not done.claims
    assert estimates(done, "observed_contrast")["mean difference, crude"] == crude


def test_the_estimates_are_the_slow_ones(inputs: FeatureInputs) -> None:
    context = planted(inputs, lambda c, domain: 0.1 * domain.rung(c, "swim_speed_up") * domain.has(c, "ninja_squid"))
    values = context._row_activations[FEATURE]
    found = run(context, "observational", column="region", first="japan,europe", second=["americas"])
    rows = estimates(found)
    region = context.group_values("region")
    first, second = np.isin(region, ["japan", "europe"]), region == "americas"
    a, b = values[first], values[second]
    assert rows["mean difference, crude"]["value"] == pytest.approx(a.mean() - b.mean())
    area = ((a[:, None] > b).mean() + (a[:, None] == b).mean() / 2).item()
    assert rows["AUROC"]["value"] == pytest.approx(area)
    assert rows["Cliff's delta"]["value"] == pytest.approx(2 * area - 1)
    assert rows["share active, difference"]["value"] == pytest.approx((a > 0).mean() - (b > 0).mean())
    keep = first | second
    known = confounders_of(context, leave_out=("region",))
    weapons = np.unique(context.group_values("weapon"), return_inverse=True)[1]
    design = np.concatenate([first[:, None], known.covariates, np.eye(weapons.max() + 1)[weapons]], axis=1)[keep]
    slope = np.linalg.lstsq(design, values[keep], rcond=None)[0][0]
    assert rows["mean difference, adjusted"]["value"] == pytest.approx(slope)
    parts, weights = [], []
    for weapon in np.unique(weapons):
        here, there = values[first & (weapons == weapon)], values[second & (weapons == weapon)]
        if len(here) and len(there):
            parts.append(here.mean() - there.mean())
            weights.append(len(here) * len(there) / (len(here) + len(there)))
    assert rows["mean difference, stratified"]["value"] == pytest.approx(np.average(parts, weights=weights))
    assert found.diagnostics.dropped["rows with another region"] == (~keep).sum()
    sides = rows_of(found, "sides")
    assert [side["n"] for side in sides] == [first.sum(), second.sum()]


def test_adjusting_takes_out_what_goes_along(inputs: FeatureInputs) -> None:
    context = planted(inputs, lambda c, domain: 1.0 + 3 * domain.has(c, "ninja_squid"))
    found = run(context, "observational", column="region", first=["japan"])
    rows = estimates(found)
    assert rows["mean difference, crude"]["low"] > 0
    assert abs(rows["mean difference, adjusted"]["value"]) < 1e-9
    named = estimates(run(context, "observational", column="region", first=["japan"], confounders=["comeback"]))
    assert named["mean difference, adjusted"]["low"] > 0
    assert "comeback" in named["mean difference, adjusted"]["method"]


def test_a_weapon_is_set_in_the_same_contexts_and_so_is_what_it_decides(inputs: FeatureInputs) -> None:
    mines = {name for name, sub in SUB_OF.items() if sub == "Ink Mine"}
    context = planted(inputs, lambda c, domain: 1 + 0.5 * (domain.group(c, "weapon") in mines) + len(c.tokens) / 9)
    done = run(context, "interventional", column="sub", first=["ink mine"])
    row = estimates(done)["mean difference, set"]
    assert row["mean_delta"] == pytest.approx(0.5)
    assert row["corpus_delta"] == pytest.approx(0.5)
    assert done.claims == (
        "setting sub Ink Mine (through the weapon, which decides it) raises feature "
        f"{FEATURE} by 0.5 against any other sub",
    )
    observed = estimates(done, "observed_contrast")
    assert observed["mean difference, crude"]["n_clusters"] == len(np.unique(context.group_values("weapon")))
    weapons = sorted(mines)[:2]
    both = run(context, "interventional", column="weapon", first=weapons, second=["Splattershot"])
    assert estimates(both)["mean difference, set"]["mean_delta"] == pytest.approx(0.5)
    none = run(context, "interventional", column="weapon", first=weapons[:1], second=weapons[1:])
    assert estimates(none)["mean difference, set"]["mean_delta"] == 0
    assert not none.claims


def test_sets_are_named_by_families_binaries_and_concepts(inputs: FeatureInputs) -> None:
    context = planted(inputs, lambda c, domain: 1.0 + len(c.tokens))
    rungs, rows = context.family_rungs("swim_speed_up"), context.rows_in_store

    def sides(name: str, first: list[str], second: list[str]) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
        found = row_sets(context, named_column(context, name), first, second, rows)
        return found.is_first, found.is_second, found.words

    first, second, words = sides("SSU", ["12", "15"], ["absent"])
    np.testing.assert_array_equal(first, np.isin(rungs, [12, 15]))
    np.testing.assert_array_equal(second, rungs == 0)
    assert words == ("swim_speed_up at 12 or 15", "swim_speed_up absent")
    np.testing.assert_array_equal(sides("swim_speed_up", [], [])[0], rungs > 0)
    has = context.rows_with(context.domain.binaries["comeback"])
    first, second, _ = sides("Comeback", [], [])
    np.testing.assert_array_equal(first, has)
    np.testing.assert_array_equal(second, ~has)
    concept = context.corpus.column("zombie_slayer").astype(bool)
    np.testing.assert_array_equal(sides("zombie_slayer", [], [])[0], concept)


REFUSED = [
    ("observational", {"column": "regiom"}, "region"),
    ("observational", {"column": "region", "first": ["japon"]}, "japan"),
    ("observational", {"column": "region", "first": ["japan"], "second": ["japan"]}, "on both sides"),
    ("observational", {"column": "swim_speed_up", "first": ["57"]}, "57"),
    ("interventional", {"column": "zombie_slayer"}, "observational"),
    ("interventional", {"column": "comeback"}, "binary_presence"),
]


@pytest.mark.parametrize(("mode", "variables", "said"), REFUSED)
def test_what_cannot_be_contrasted_is_refused_in_words(
    inputs: FeatureInputs, mode: str, variables: dict[str, Any], said: str
) -> None:
    context = planted(inputs, lambda c, domain: 1.0 + len(c.tokens))
    result = attempt(context, mode, **variables)
    assert not result.success
    assert said in str(result.error_message)
