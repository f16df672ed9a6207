"""Bad input of every kind: the result says what was seen, what was expected and what to do, and nothing is claimed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from mechscope.core import NotFoundError, UsageError
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments import (
    CAUSAL,
    OBSERVED,
    ExperimentContext,
    ExperimentResult,
    ExperimentSpec,
    check_spec,
    find_kind,
    get_runner_for_type,
)
from mechscope.testing.planted_features import plant_feature

NEEDED: dict[str, dict[str, Any]] = import_module("experiments.test_contract").NEEDED
KINDS = EXPERIMENTS.names()
FEATURE = 3

UNKNOWN_NAMES: list[tuple[str, dict[str, Any], str]] = [
    ("family_1d_sweep", {"family": "special_charge_upp"}, "special_charge_up"),
    ("family_1d_sweep", {"family": "SCU", "rungs": [4]}, "special_charge_up"),
    ("family_1d_sweep", {"family": "SCU", "stable_weapon": "Splattershott"}, "Splattershot"),
    ("family_1d_sweep", {"family": "SCU", "stable_tokens": ["combeack"]}, "comeback"),
    ("family_2d_heatmap", {"family_x": "SCU", "family_y": "combeack"}, "comeback"),
    ("family_2d_heatmap", {"family_x": "quick_respwan", "family_y": "comeback"}, "quick_respawn"),
    ("binary_presence", {"tokens": ["combeack"]}, "comeback"),
    ("binary_presence", {"stable_tokens": ["special_charge_up_4"]}, "special_charge_up"),
    ("binary_presence", {"stable_groups": {"weapn": "Splattershot"}}, "weapon"),
    ("core_coverage", {"tokens": ["comeback+stelth_jump"]}, "stealth_jump"),
    ("core_coverage", {"stable_weapon": "Splattershott"}, "Splattershot"),
    ("token_influence", {"stable_tokens": ["ninja_squidd"]}, "ninja_squid"),
    ("weapon_sweep", {"stable_tokens": ["combeack"]}, "comeback"),
    ("kit_sweep", {"stable_tokens": ["combeack"]}, "comeback"),
]


def run(context: ExperimentContext, kind: str, **changes: Any) -> ExperimentResult:
    variables = NEEDED.get(kind, {}) | changes.pop("variables", {})
    spec = {"type": kind, "feature_id": FEATURE, "variables": variables, **changes}
    return get_runner_for_type(kind).run(ExperimentSpec.parse(spec), context)


def refused(result: ExperimentResult, *words: str) -> str:
    """The message of a result without success: its three parts, and these words."""
    assert not result.success
    assert not result.claims
    message = str(result.error_message)
    assert "expected" in message, message
    for word in words:
        assert word in message, message
    return message


@pytest.fixture(scope="module")
def subject(builds: ExperimentContext) -> ExperimentContext:
    return plant_feature(builds.inputs, FEATURE, lambda one: float(sum(one.tokens) % 7))


@pytest.mark.parametrize(("kind", "variables", "nearest"), UNKNOWN_NAMES)
def test_an_unknown_name_offers_the_nearest(
    kind: str, variables: dict[str, Any], nearest: str, subject: ExperimentContext
) -> None:
    for mode in find_kind(kind).modes:
        refused(run(subject, kind, variables=variables, mode=mode), nearest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slice_that_names_what_is_not_there_offers_the_nearest(kind: str, subject: ExperimentContext) -> None:
    refused(run(subject, kind, dataset_slice={"weapons": ["Splattershott"]}), "Splattershot")
    refused(run(subject, kind, dataset_slice={"families": {"quick_respwan": 3}}), "quick_respawn")
    refused(run(subject, kind, dataset_slice={"groups": {"specail": ["Ink Storm"]}}), "special")


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_slice_names_the_step_that_emptied_it(kind: str, subject: ExperimentContext) -> None:
    for mode in find_kind(kind).modes:
        emptied = run(subject, kind, mode=mode, dataset_slice={"activation_threshold": 1e9})
        refused(emptied, "activation_threshold left none of", "widen")


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_is_never_active_is_refused(kind: str, builds: ExperimentContext) -> None:
    silent = plant_feature(builds.inputs, FEATURE, lambda one: 0.0 * len(one.tokens))
    for mode in find_kind(kind).modes:
        refused(run(silent, kind, mode=mode), f"feature {FEATURE} is zero in every row", "choose another feature")


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_of_another_subject_or_for_no_feature_is_refused(kind: str, subject: ExperimentContext) -> None:
    refused(run(subject, kind, model_type="agreement"), "'agreement'", "'planted'")
    n = subject.inputs.store.n_features
    refused(run(subject, kind, feature_id=n), f"feature {n} is not in", f"0 to {n - 1}")
    spec = ExperimentSpec(type=kind, feature_id=n, variables=NEEDED.get(kind, {}))
    with pytest.raises(NotFoundError, match="is not in"):
        check_spec(spec, subject)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "stable_tokens" in find_kind(kind).variables.model_fields])
def test_illegal_stable_tokens_name_the_rule(kind: str, subject: ExperimentContext) -> None:
    """Comeback and Tenacity both are head abilities; 57 AP twice is more than there is."""
    if CAUSAL in find_kind(kind).modes:
        clash = run(subject, kind, mode=CAUSAL, variables={"stable_tokens": ["comeback", "tenacity"]})
        message = refused(clash)
        # a kind that takes rows as they are, holding nothing in by substitution, finds no such row
        assert "comeback and tenacity both need the head main slot" in message or "hold less constant" in message
        much = {"stable_tokens": ["quick_respawn_57", "swim_speed_up_57"]}
        message = refused(run(subject, kind, mode=CAUSAL, variables=much))
        assert "AP budget" in message or "hold less constant" in message
    twice = {"stable_tokens": ["quick_respawn_3", "quick_respawn_6"]}
    refused(run(subject, kind, variables=twice), "quick_respawn")


def test_a_family_without_rungs_and_a_sweep_without_a_choice(subject: ExperimentContext) -> None:
    alone = run(subject, "family_1d_sweep", variables={"family": "SCU", "rungs": [3], "include_absent": False})
    refused(alone, "over rung 3 alone", "give more rungs")
    held = run(subject, "family_1d_sweep", variables={"family": "SCU", "stable_tokens": ["special_charge_up_3"]})
    refused(held, "both set 'special_charge_up'", "leave")


@pytest.mark.parametrize("kind", KINDS)
def test_a_constraint_or_mode_that_does_not_exist_is_refused_before_anything_runs(
    kind: str, subject: ExperimentContext
) -> None:
    spec = ExperimentSpec(
        type=kind, feature_id=FEATURE, variables=NEEDED.get(kind, {}), constraints=("max_ap_budgett",)
    )
    with pytest.raises(NotFoundError, match="max_ap_budget"):
        check_spec(spec)
    lacking = {CAUSAL, OBSERVED} - set(find_kind(kind).modes)
    for mode in lacking:
        with pytest.raises(UsageError, match="leave the mode away"):
            check_spec(ExperimentSpec.parse({"type": kind, "feature_id": FEATURE, "mode": mode,
                                             "variables": NEEDED.get(kind, {})}))  # fmt: skip


def test_no_message_says_none_or_shows_a_python_object(subject: ExperimentContext) -> None:
    for kind, variables, _ in UNKNOWN_NAMES:
        message = refused(run(subject, kind, variables=variables))
        assert "None" not in message
        assert " object at 0x" not in message
    assert np.isfinite(subject.row_activations(FEATURE)).all()
