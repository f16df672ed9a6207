"""What is held constant is in every context that is run and in every row that is counted, whatever the kind."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from mechscope.core.kinds import EXPERIMENTS
from mechscope.corpora.domain import Context
from mechscope.experiments import (
    CAUSAL,
    OBSERVED,
    ExperimentContext,
    ExperimentResult,
    ExperimentSpec,
    find_kind,
    get_runner_for_type,
)
from mechscope.testing.planted_features import plant_feature

NEEDED: dict[str, dict[str, Any]] = import_module("experiments.test_contract").NEEDED
HOLDING = [name for name in EXPERIMENTS.names() if "stable_tokens" in find_kind(name).variables.model_fields]
SWEEPS = {"binary_presence", "core_coverage", "family_1d_sweep", "family_2d_heatmap", "token_influence"}
FEATURE = 3


class Watched:
    """Stands where `activations` is, and keeps every context that is run."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.seen = inner, list[Context]()

    def __call__(self, contexts: Sequence[Context], feature: int) -> np.ndarray:
        self.seen += contexts
        found: np.ndarray = self.inner(contexts, feature)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def run(context: ExperimentContext, kind: str, mode: str, n: int = 40, **variables: Any) -> ExperimentResult:
    sliced = {"sample_size": n} if mode == CAUSAL else {}
    spec = {"type": kind, "feature_id": FEATURE, "mode": mode, "variables": variables, "dataset_slice": sliced}
    return get_runner_for_type(kind).run(ExperimentSpec.parse(spec), context)


def number(value: Any) -> float:
    return float(value)


def test_sweeps_hold_tokens_groups_and_a_weapon() -> None:
    for name in SWEEPS:
        assert {"stable_tokens", "stable_groups", "stable_weapon"} <= set(find_kind(name).variables.model_fields)


@pytest.mark.parametrize("name", [name for name in HOLDING if CAUSAL in find_kind(name).modes])
def test_what_is_held_is_in_every_context(name: str, builds: ExperimentContext) -> None:
    context = plant_feature(builds.inputs, FEATURE, lambda one: 1.0 + sum(one.tokens) % 7)
    watch = context.__dict__["activations"] = Watched(context.activations)
    weapon, fields = context.domain.groups["weapon"][4], find_kind(name).variables.model_fields
    held: dict[str, Any] = {"stable_tokens": ["ninja_squid", "run_speed_up_6"]}
    can_hold_weapon = "stable_weapon" in fields and name != "weapon_sweep"  # what is swept cannot be held
    if can_hold_weapon:
        held["stable_weapon"] = weapon
    if "observed_beside" in fields:
        held["observed_beside"] = False
    result = run(context, name, CAUSAL, 12, **NEEDED.get(name, {}), **held)
    assert result.success, result.error_message
    assert watch.seen
    assert all(context.domain.has(one, "ninja_squid") for one in watch.seen)
    assert {context.domain.rung(one, "run_speed_up") for one in watch.seen} == {6}
    if can_hold_weapon:
        assert {context.domain.group(one, "weapon") for one in watch.seen} == {weapon}


def test_binaries_act_where_the_planted_condition_holds_alone(builds: ExperimentContext) -> None:
    """Comeback adds 2 beside Ninja Squid on one weapon, and nothing anywhere else."""
    domain, weapon = builds.domain, builds.domain.groups["weapon"][4]

    def activation(one: Context) -> float:
        opened = domain.has(one, "ninja_squid") and domain.group(one, "weapon") == weapon
        return 1.0 + (sum(one.tokens) % 5) / 50 + 2.0 * (opened and domain.has(one, "comeback"))

    context = plant_feature(builds.inputs, FEATURE, activation)
    variables: dict[str, Any] = {"tokens": ["comeback", "stealth_jump"], "observed_beside": False, "min_effect": 0.2}
    free = run(context, "binary", CAUSAL, **variables)
    held = run(context, "binary", CAUSAL, **variables, stable_tokens=["ninja_squid"], stable_weapon=weapon)
    other = run(context, "binary", CAUSAL, **variables, stable_tokens=["ninja_squid"],
                stable_weapon=domain.groups["weapon"][5])  # fmt: skip
    results = (free, held, other)
    deltas = [number(result.tables["binary_presence"].rows[0]["mean_delta"]) for result in results]
    assert deltas[1] == pytest.approx(2.0, abs=0.1)
    assert np.abs([deltas[0], deltas[2]]).max() < 0.2
    assert any(claim.startswith("comeback raises") and "ninja_squid" in claim for claim in held.claims)
    assert not free.claims
    assert not other.claims
    twice = run(context, "binary", CAUSAL, tokens=["comeback"], stable_tokens=["comeback"])
    assert "both set 'comeback'" in str(twice.error_message)


@pytest.mark.parametrize("kind", ["binary", "coverage", "token_influence"])
def test_observed_rows_are_those_that_have_what_is_held(kind: str, builds: ExperimentContext) -> None:
    context = plant_feature(builds.inputs, FEATURE, lambda one: 1.0 + sum(one.tokens) % 7)
    stable: dict[str, Any] = {"stable_tokens": ["ninja_squid"], "stable_groups": {"class": "Shooters"}}
    named: dict[str, Any] = {"tokens": ["comeback"]} if kind == "coverage" else {}
    result = run(context, kind, OBSERVED, **named, **stable)
    assert result.success, result.error_message
    rows = context.contexts_of(np.arange(context.corpus.n_rows))
    expected = sum(
        context.domain.has(one, "ninja_squid") and context.domain.group(one, "class") == "Shooters" for one in rows
    )
    assert 10 < expected < 500
    assert result.diagnostics.n_contexts_tested == expected
    assert result.aggregates.custom["held"] == "ninja_squid, class Shooters"
    empty = run(context, kind, OBSERVED, stable_tokens=["special_charge_up_57", "swim_speed_up_57"])
    assert "no row of the slice has special_charge_up 57, swim_speed_up 57" in str(empty.error_message)


def test_coverage_within_what_is_held_is_that_of_those_rows(builds: ExperimentContext) -> None:
    domain = builds.domain

    def activation(one: Context) -> float:
        return (1.0 + (sum(one.tokens) % 50) / 50) * (
            1 + domain.has(one, "comeback") * (domain.rung(one, "swim_speed_up") == 3)
        )

    context = plant_feature(builds.inputs, FEATURE, activation)
    held = run(context, "coverage", OBSERVED, tokens=["comeback"], stable_tokens=["swim_speed_up_3"], threshold=0.95)
    values = context.row_activations(FEATURE)
    rows = [one for one in context.contexts_of(np.arange(len(values))) if domain.rung(one, "swim_speed_up") == 3]
    own = np.array([values[one.row] for one in rows])
    high = own >= np.quantile(own, 0.95)
    share = np.mean([domain.has(one, "comeback") for one, is_high in zip(rows, high, strict=True) if is_high])
    row = held.tables["token_coverage"].rows[0]
    assert row["high_share"] == pytest.approx(share)
    assert share > 0.6
    free = run(context, "coverage", OBSERVED, tokens=["comeback"], threshold=0.95)
    assert free.tables["token_coverage"].rows[0]["high_share"] != pytest.approx(share)


def test_a_token_acts_where_the_planted_condition_holds_alone(builds: ExperimentContext) -> None:
    """Last-Ditch Effort adds 2 at rung 6 of run speed and above; elsewhere nothing acts but that rung itself."""
    domain, name = builds.domain, "last_ditch_effort"

    def activation(one: Context) -> float:
        return 1.0 + (one.row % 50) / 500 + 2.0 * (domain.has(one, name) and domain.rung(one, "run_speed_up") >= 6)

    def influence(mode: str, **held: Any) -> ExperimentResult:
        return run(plant_feature(builds.inputs, FEATURE, activation), "token_influence", mode, **held)

    caused = influence(CAUSAL, stable_tokens=["run_speed_up_6"])
    assert caused.aggregates.custom["enhancers"] == [name]
    assert caused.tables["enhancers"].rows[0]["mean_delta"] == pytest.approx(2.0)
    (claim,) = caused.claims
    assert claim.startswith(f"{name} raises feature {FEATURE} by 2 [2, 2] in ")
    assert claim.endswith(f"({name} set against unset, on contexts with run_speed_up 6)")
    assert "run_speed_up_6" not in [row["token"] for row in caused.tables["token_deltas"].rows]
    seen = influence(OBSERVED, stable_tokens=["run_speed_up_6"])
    assert seen.aggregates.custom["enhancers"] == [name]
    for mode in (CAUSAL, OBSERVED):
        off = influence(mode, stable_tokens=["run_speed_up_3"])
        assert off.aggregates.custom["enhancers"] == off.aggregates.custom["suppressors"] == []
