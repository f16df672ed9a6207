"""Every experiment kind meets the contract; a new one is covered without a new test."""

from typing import Any

import pytest

from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments import ExperimentContext, ExperimentType, find_kind
from mechscope.testing.experiments import check_experiment_kind

NEEDED: dict[str, dict[str, Any]] = {
    "family_1d_sweep": {"family": "special_charge_up", "rungs": [3, 12]},
    "family_2d_heatmap": {"family_x": "special_charge_up", "family_y": "ink_saver_sub", "rungs_x": [3], "rungs_y": [3]},
    "within_family_interference": {"family": "special_charge_up", "rungs": [3, 12]},
    "decoder_output": {"n_random": 19, "n_matched": 1},
    "minimal_cores": {"budget": 64, "top_k": 3, "n_held_out": 20},
}
"""Variables that a kind cannot do without; a kind that is not listed runs with its defaults."""


def busiest(context: ExperimentContext) -> int:
    return int(context.inputs.store.counts().argmax())


@pytest.mark.parametrize("name", EXPERIMENTS.names())
def test_every_kind_keeps_its_contract(name: str, builds: ExperimentContext) -> None:
    check_experiment_kind(name, builds, busiest(builds), NEEDED.get(name, {}))


def test_a_sweep_keeps_its_contract_on_sentences(sentences: ExperimentContext) -> None:
    found = check_experiment_kind("family_1d_sweep", sentences, busiest(sentences), {"family": "tense"})
    assert found["interventional"].aggregates.custom["reference_rung"] == 1  # every sentence has a tense


def test_the_enumeration_and_the_registry_name_the_same_kinds() -> None:
    assert {find_kind(member).name for member in ExperimentType} == set(EXPERIMENTS.names())
