"""Specs: the founding document's example unchanged, every field through JSON, wrong keys refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechscope.core import NotFoundError, UsageError
from mechscope.experiments import DatasetSlice, ExperimentSpec, ExperimentType, get_runner_for_type, read_spec

EXAMPLE: dict[str, Any] = {
    "id": "20250607_142531",
    "type": "family_1d_sweep",
    "feature_id": 18712,
    "model_type": "ultra",
    "dataset_slice": {"percentile_min": 10.0, "percentile_max": 90.0, "sample_size": 500},
    "variables": {"family": "special_charge_up", "rungs": [3, 12, 29, 41, 57], "include_absent": True},
    "constraints": ["one_rung_per_family"],
    "outputs": {"aggregates": True, "tables": True, "diagnostics": True, "figures": False},
    "description": "Test SCU response across rungs",
    "parent_hypothesis": "h001",
}


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(contains(whole[key], value) for key, value in part.items())
    return bool(whole == part)


def test_the_example_parses_unchanged() -> None:
    spec = ExperimentSpec.parse(EXAMPLE)
    assert contains(spec.to_json(), EXAMPLE)
    assert ExperimentSpec.parse(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.file_name == "20250607_142531__f18712__family-1d-sweep.json"
    checked, variables = get_runner_for_type(spec.type).check(spec)
    assert checked.mode == "interventional"
    assert variables.to_json()["rungs"] == [3, 12, 29, 41, 57]


def test_a_type_is_found_as_member_string_alias_and_with_dashes() -> None:
    spec = ExperimentSpec(type=ExperimentType.FAMILY_1D_SWEEP, feature_id=1, variables={"family": "x"})
    for name in (spec.type, "family-1d-sweep", "Family_1D_Sweep", "family-sweep"):
        assert get_runner_for_type(name).kind.name == ExperimentType.FAMILY_1D_SWEEP
    with pytest.raises(NotFoundError, match="did you mean 'family_1d_sweep'"):
        get_runner_for_type("family_1d_swep")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"varables": {}}, "did you mean 'variables'"),
        ({"dataset_slice": {"percentile_mn": 3}}, "did you mean 'percentile_min'"),
        ({"dataset_slice": {"percentile_min": 60, "percentile_max": 40}}, "is above percentile_max"),
        ({"dataset_slice": {"percentile_max": 101}}, "less than or equal to 100"),
        ({"dataset_slice": {"sample_size": 0}}, "greater than or equal to 1"),
        ({"feature_id": -1}, "greater than or equal to 0"),
        ({"id": "../../etc/passwd"}, "string_pattern|match pattern"),
        ({"mode": "causal"}, "interventional"),
        ({"outputs": {"figure": True}}, "did you mean 'figures'"),
    ],
)
def test_wrong_fields_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExperimentSpec.parse(EXAMPLE | change)


@pytest.mark.parametrize(
    ("variables", "error", "message"),
    [
        ({"family": "special_charge_up", "rung": [3]}, UsageError, "did you mean 'rungs'"),
        ({"rungs": [3]}, UsageError, "family"),
        ({"family": "special_charge_up", "rungs": ["x"]}, UsageError, "rungs"),
    ],
)
def test_wrong_variables_are_refused_by_name(variables: dict[str, Any], error: type[Exception], message: str) -> None:
    spec = ExperimentSpec.parse(EXAMPLE | {"variables": variables})
    with pytest.raises(error, match=message):
        get_runner_for_type(spec.type).check(spec)


def test_an_unknown_constraint_is_refused_with_the_nearest() -> None:
    spec = ExperimentSpec.parse(EXAMPLE | {"constraints": ["one_rung_per_famly"]})
    with pytest.raises(NotFoundError, match="did you mean 'one_rung_per_family'"):
        get_runner_for_type(spec.type).check(spec)


def test_families_may_be_a_list_and_weapons_are_groups() -> None:
    wanted = DatasetSlice(families=["a", "b"], weapons=("x",), groups={"weapon": ("y",), "sub": ("z",)})  # type: ignore[arg-type]
    assert wanted.families == {"a": 1, "b": 1}
    assert wanted.all_groups == {"weapon": ("y", "x"), "sub": ("z",)}


names = st.text("abcXYZ_09", min_size=1, max_size=8)
scalars = (
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False) | names
)


@given(
    slices=st.builds(
        DatasetSlice,
        groups=st.dictionaries(names, st.lists(names, max_size=2).map(tuple), max_size=2),
        exclude_weapons=st.lists(names, max_size=2).map(tuple),
        families=st.dictionaries(names, st.integers(1, 57), max_size=2),
        activation_threshold=st.none() | st.floats(0, 10),
        percentile_min=st.floats(0, 50),
        percentile_max=st.floats(50, 100),
        percentiles_of=st.sampled_from(["active", "all"]),
        zeros=st.booleans(),
        sample_size=st.none() | st.integers(1, 9999),
        seed=st.none() | st.integers(0, 2**31),
    ),
    variables=st.dictionaries(names, scalars | st.lists(scalars, max_size=3), max_size=3),
    mode=st.sampled_from([None, "interventional", "observational"]),
    outputs=st.fixed_dictionaries({name: st.booleans() for name in ("aggregates", "tables", "diagnostics", "figures")}),
)
def test_every_field_survives_json(slices: DatasetSlice, variables: Any, mode: Any, outputs: Any) -> None:
    spec = ExperimentSpec.parse(
        EXAMPLE | {"dataset_slice": slices, "variables": variables, "mode": mode, "outputs": outputs, "seed": 7}
    )
    again = ExperimentSpec.parse(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.digest == spec.digest


def test_small_numbers_in_a_json_file_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(EXAMPLE | {"variables": {"family": "x", "min_effect": 1e-05}}))
    assert read_spec(path).variables["min_effect"] == 1e-05
    with pytest.raises(NotFoundError, match="no file at"):
        read_spec(tmp_path / "other.json")
