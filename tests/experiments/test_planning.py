"""The planner on real results of planted features: each rule speaks where it should, and what it plans can be run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model

from mechscope.core import NotFoundError, UsageError
from mechscope.corpora.domain import Context
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import (
    ExperimentContext,
    ExperimentFolders,
    ExperimentResult,
    ExperimentSpec,
    check_spec,
    get_runner_for_type,
)
from mechscope.experiments.planning import Plan, associations, plan_experiments, read_records, settings_of
from mechscope.features import FeatureInputs
from mechscope.store import write_json
from mechscope.testing.planted_features import plant_feature

FEATURE, DRIVER, OTHER, BINARY = 3, "quick_respawn", "special_charge_up", "comeback"
SMALL = {"sample_size": 30}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("planning")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


@pytest.fixture
def folders(tmp_path: Path) -> ExperimentFolders:
    return ExperimentFolders(tmp_path / "experiments")


def planted(inputs: FeatureInputs, function: Callable[[Any], float], *, noise: float = 0.0) -> ExperimentContext:
    """`function` of a reader of rungs, binaries and weapons, with noise that is the same for equal contexts."""
    domain = domain_for(inputs.corpus)

    def activation(context: Context) -> float:
        def read(name: str) -> Any:
            if name in domain.families:
                return domain.rung(context, name)
            return domain.has(context, name) if name in domain.binaries else domain.group(context, name)

        drawn = np.random.default_rng((*context.tokens, 5)).normal() if noise else 0.0
        return function(read) + noise * drawn

    return plant_feature(inputs, FEATURE, activation)


def driven(inputs: FeatureInputs) -> ExperimentContext:
    return planted(inputs, lambda read: 2.0 + 2 * (read(DRIVER) >= 6) + (read(OTHER) >= 3), noise=0.1)


def run(context: ExperimentContext, folders: ExperimentFolders, spec: ExperimentSpec) -> ExperimentResult:
    """As `run_specs` writes it."""
    result = get_runner_for_type(spec.type).run(spec, context)
    for folder in (folders.specs, folders.results):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folders.specs / spec.file_name, spec.to_json())
    result.write(folders.results)
    return result


def small(spec: ExperimentSpec, context: ExperimentContext) -> ExperimentSpec:
    """Fewer base contexts, so that it is quick; observed rows as they are."""
    size = min(spec.dataset_slice.sample_size or 16, 60)
    is_causal = check_spec(spec, context).mode == "interventional"
    return spec.updated(dataset_slice=spec.dataset_slice.updated(sample_size=size)) if is_causal else spec


def ask(context: ExperimentContext, folders: ExperimentFolders, kind: str, **fields: Any) -> ExperimentResult:
    given = {"type": kind, "feature_id": FEATURE, "model_type": context.name, **fields}
    result = run(context, folders, ExperimentSpec.parse(given))
    assert result.success, result.error_message
    return result


def planned(context: ExperimentContext, folders: ExperimentFolders, most: int = 5) -> Plan:
    plan = plan_experiments(context, FEATURE, [folders], most=most)
    assert 2 <= len(plan.proposals) <= most
    done = {settings_of(spec, context) for spec in read_records([folders], context, FEATURE).specs}
    for one in plan.proposals:
        assert check_spec(one.spec, context).description == one.reason
        assert any(letter.isdigit() for letter in one.reason), one.reason
        assert settings_of(one.spec, context) not in done
    assert len({settings_of(one.spec, context) for one in plan.proposals}) == len(plan.proposals)
    return plan


def by_rule(plan: Plan, rule: str) -> list[Any]:
    return [one for one in plan.proposals if one.rule == rule]


def sweep(family: str, **more: Any) -> dict[str, Any]:
    return {"kind": "family_1d_sweep", "variables": {"family": family, "rungs": [3, 6, 12]}, **more}


def test_from_nothing_to_the_primary_against_a_secondary(inputs: FeatureInputs, folders: ExperimentFolders) -> None:
    context = driven(inputs)
    plan = planned(context, folders)
    first = by_rule(plan, "first look")
    assert [one.spec.type for one in first] == [
        "token_influence", "family_1d_sweep", "family_1d_sweep", "weapon_sweep",
    ]  # fmt: skip
    assert [one.spec.variables["family"] for one in first[1:3]] == [DRIVER, OTHER]
    assert "1,500 rows" in first[1].reason
    for one in first:
        assert run(context, folders, small(one.spec, context)).success
    plan = planned(context, folders)
    cross = by_rule(plan, "primary x secondary")[0]
    assert cross.spec.variables == {"family_x": DRIVER, "family_y": OTHER}
    sweeps = read_records([folders], context, FEATURE).of("family_1d_sweep")
    assert any(record.id in cross.reason for record in sweeps)
    heatmap = run(context, folders, small(cross.spec, context))
    assert heatmap.success
    again = by_rule(planned(context, folders), "primary x secondary")
    assert [set(one.spec.variables.values()) for one in again] != [{DRIVER, OTHER}]
    assert any(text.startswith(f"driver: {DRIVER}") for text in plan.known)


def test_a_long_loop_never_repeats_itself(inputs: FeatureInputs, folders: ExperimentFolders) -> None:
    context, seen = driven(inputs), set[str]()
    ask(context, folders, **sweep(DRIVER), dataset_slice=SMALL)
    for _ in range(3):
        plan = planned(context, folders, most=3)
        for one in plan.proposals:
            settings = settings_of(one.spec, context)
            assert settings not in seen
            seen.add(settings)
            result = run(context, folders, small(one.spec, context))
            assert result.success or one.spec.type == "decoder_output"  # a planted feature has no model to run
    assert len(seen) == 9


def test_few_contexts_are_asked_for_again_until_there_are_enough(
    inputs: FeatureInputs, folders: ExperimentFolders
) -> None:
    context = driven(inputs)
    small = ask(context, folders, **sweep(DRIVER), dataset_slice={"sample_size": 12})
    more = by_rule(planned(context, folders), "uncertainty")[0]
    assert small.spec_id in more.reason
    assert "base contexts" in more.reason
    assert (more.spec.dataset_slice.sample_size, more.spec.seed) == (200, 1)
    assert run(context, folders, more.spec).success
    assert by_rule(planned(context, folders), "uncertainty") == []


def test_what_was_only_observed_is_intervened_on(inputs: FeatureInputs, folders: ExperimentFolders) -> None:
    context = driven(inputs)
    observed = ask(context, folders, **sweep(DRIVER), mode="observational")
    assert observed.claims
    gap = by_rule(planned(context, folders), "evidence gap")[0]
    assert gap.spec.mode == "interventional"
    assert gap.spec.variables == {"family": DRIVER, "rungs": [3, 6, 12]}
    assert observed.spec_id in gap.reason
    assert f"n = {observed.aggregates.n_samples:,}" in gap.reason
    assert run(context, folders, small(gap.spec, context)).success
    assert by_rule(planned(context, folders), "evidence gap") == []


def test_a_claim_is_validated_and_repeated_where_halves_disagree(
    inputs: FeatureInputs, folders: ExperimentFolders
) -> None:
    context = driven(inputs)
    claim = ask(context, folders, **sweep(DRIVER), dataset_slice={"sample_size": 80})
    kinds = {one.spec.type for one in by_rule(planned(context, folders), "validation")}
    assert kinds == {"split_half", "shuffle_null"}
    known: dict[object, float] = {}
    generator = np.random.default_rng(41)
    null = plant_feature(inputs, FEATURE, lambda c: known.setdefault(c.key, float(generator.normal(3, 0.5))))
    halves = ask(null, folders, "split_half")
    assert dict(halves.aggregates.custom)["reliability"] < 0.7  # type: ignore[operator]
    repeat = by_rule(planned(context, folders), "validation")[0]
    assert (repeat.spec.type, repeat.spec.seed) == ("family_1d_sweep", 1)
    assert repeat.spec.dataset_slice.sample_size == 320
    assert halves.spec_id in repeat.reason
    assert claim.spec_id in repeat.reason


def test_a_reliable_feature_is_not_repeated(inputs: FeatureInputs, folders: ExperimentFolders) -> None:
    context = driven(inputs)
    ask(context, folders, **sweep(DRIVER), dataset_slice={"sample_size": 80})
    for kind in ("split_half", "shuffle_null"):
        ask(context, folders, kind)
    plan = planned(context, folders)
    assert by_rule(plan, "validation") == []
    assert any(text.startswith(("reliability 0.9", "reliability 1")) for text in plan.known)


def test_a_floor_is_left_for_active_rows(inputs: FeatureInputs, folders: ExperimentFolders) -> None:
    held = driven(inputs).rows_with(domain_for(inputs.corpus).binaries[BINARY])
    counts = {rung: int((held & (driven(inputs).family_rungs(DRIVER) >= rung)).sum()) for rung in (3, 6, 12, 15, 21)}
    rung = next(rung for rung, n in counts.items() if 12 <= n <= 40)
    context = planted(inputs, lambda read: -2.0 + 4.0 * (read(DRIVER) >= rung and read(BINARY)), noise=0.1)
    floored = ask(context, folders, **sweep(OTHER), dataset_slice={"sample_size": 100})
    assert floored.diagnostics.relu_floor_detected  # few rows are active, so most base contexts are at zero
    away = by_rule(planned(context, folders), "relu floor")[0]
    assert away.spec.dataset_slice.percentile_min == 50
    assert not away.spec.dataset_slice.zeros
    assert floored.spec_id in away.reason
    assert not run(context, folders, small(away.spec, context)).diagnostics.relu_floor_detected
    paired = ask(context, folders, "pairwise_interactions", dataset_slice={"sample_size": 60},
                 variables={"tokens": ["run_speed_up_3", "comeback"], "players": 0, "scale": "activation"})  # fmt: skip
    assert paired.diagnostics.relu_floor_detected
    rules = by_rule(planned(context, folders), "relu floor")
    before = next(one for one in rules if one.spec.type == "pairwise_interactions")
    assert before.spec.variables["scale"] == "pre_activation"


def test_suppressors_are_looked_at_where_there_is_something_to_lower(
    inputs: FeatureInputs, folders: ExperimentFolders
) -> None:
    context = planted(inputs, lambda read: 5.0 - 2 * (read(OTHER) >= 3) - 1.5 * read(BINARY))
    lowering = ask(context, folders, **sweep(OTHER), dataset_slice={"sample_size": 80})
    toggled = ask(context, folders, "binary_presence", dataset_slice={"sample_size": 80})
    found = {one.spec.type: one for one in by_rule(planned(context, folders), "suppressor")}
    assert found["family_1d_sweep"].spec.variables == {"family": OTHER}
    assert found["binary_presence"].spec.variables == {"tokens": [BINARY]}
    assert lowering.spec_id in found["family_1d_sweep"].reason
    assert "-2" in found["family_1d_sweep"].reason
    assert toggled.spec_id in found["binary_presence"].reason
    for one in found.values():
        assert one.spec.dataset_slice.percentile_min == 75
        assert run(context, folders, small(one.spec, context)).success


def test_a_dominant_weapon_leads_to_its_kit(inputs: FeatureInputs, folders: ExperimentFolders) -> None:
    names, counts = np.unique(driven(inputs).group_values("weapon"), return_counts=True)
    weapon = names[counts.argmax()]
    context = planted(inputs, lambda read: 1.0 + 4 * (read("weapon") == weapon), noise=0.1)
    swept = ask(context, folders, "weapon_sweep", variables={"min_examples": 5})
    assert dict(swept.aggregates.custom)["recommended_followup"] == "kit_sweep"
    kit = by_rule(planned(context, folders), "dominant weapon")[0]
    assert kit.spec.variables == {"analyze_combinations": True}
    assert weapon in kit.reason
    assert swept.spec_id in kit.reason
    assert run(context, folders, kit.spec).success
    assert by_rule(planned(context, folders), "dominant weapon") == []


def test_waiting_failed_and_foreign_files(inputs: FeatureInputs, folders: ExperimentFolders) -> None:
    context = driven(inputs)
    first = planned(context, folders)
    folders.specs.mkdir(parents=True)
    for one in first.proposals:
        write_json(folders.specs / one.spec.file_name, one.spec.to_json())
    second = planned(context, folders)
    assert second.n_struck >= len(by_rule(first, "first look"))
    assert any("5 specs wait" in text for text in second.known)
    failing = ExperimentSpec.parse(
        {"type": "family_1d_sweep", "feature_id": FEATURE, "variables": {"family": "no_such_family"}}
    )
    assert not run(context, folders, failing).success
    foreign = ask(context, folders, **sweep(DRIVER), dataset_slice=SMALL)
    path = folders.results / foreign.file_name
    told = json.loads(path.read_text())
    told["provenance"]["subject"]["dictionary"] = "another"
    path.write_text(json.dumps(told))
    (folders.results / f"x__f{FEATURE}__split-half.json").write_text("{")
    records = read_records([folders], context, FEATURE)
    assert (len(records.done), len(records.failed)) == (0, 1)
    assert dict(records.skipped) == {"result of another dictionary or corpus": 1, "result that cannot be read": 1}
    assert any("left out: 1 times result of another" in text for text in planned(context, folders).known)


def test_associations_are_shares_of_variance(inputs: FeatureInputs) -> None:
    context = driven(inputs)
    found = {one.name: one for one in associations(context, FEATURE)}
    y, rungs = context.row_activations(FEATURE), context.family_rungs(DRIVER)
    levels = np.unique(rungs)
    between = sum((rungs == level).sum() * (y[rungs == level].mean() - y.mean()) ** 2 for level in levels)
    expected = between / np.square(y - y.mean()).sum() - (len(levels) - 1) / (len(y) - 1)
    assert found[DRIVER].share == pytest.approx(expected)
    assert found[DRIVER].rises
    assert (found[DRIVER].n, found[DRIVER].n_with) == (len(y), (rungs > 0).sum())
    held = context.rows_with(context.domain.binaries[BINARY])
    share = np.corrcoef(y, held)[0, 1] ** 2 - 1 / (len(y) - 1)
    assert found[BINARY].share == pytest.approx(share)


def test_settings_are_equal_where_defaults_are_written_out(inputs: FeatureInputs) -> None:
    context = driven(inputs)
    short = ExperimentSpec.parse({"type": "heatmap", "feature_id": 3, "variables": {"family_x": "a", "family_y": "b"}})
    long = short.updated(
        id="other", type="family_2d_heatmap", mode="interventional", description="words",
        variables={**short.variables, "min_effect": 0.02},
    )  # fmt: skip
    assert settings_of(short, context) == settings_of(long, context)
    assert settings_of(short, context) != settings_of(short.updated(seed=1), context)
    assert settings_of(short, context, without=["seed"]) == settings_of(
        short.updated(seed=1), context, without=["seed"]
    )


def test_what_cannot_be_planned_for(inputs: FeatureInputs, folders: ExperimentFolders) -> None:
    context = driven(inputs)
    with pytest.raises(NotFoundError, match="feature 48"):
        plan_experiments(context, 48, [folders])
    with pytest.raises(UsageError, match="2 to 5"):
        plan_experiments(context, FEATURE, [folders], most=6)
