"""Planted enhancers and suppressors are the tokens that rank; planted core and tail tokens are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import ExperimentContext
from mechscope.features import FeatureInputs
from mechscope.testing.planted_builds import Driver, PlantedBuilds, draw_drivers, run_kind
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
DRAWS = np.random.default_rng(61).integers(1 << 30, size=4).tolist()


def token_of(driver: Driver) -> str:
    return driver.name if driver.shape == "binary" else f"{driver.name}_{driver.threshold}"


@pytest.mark.parametrize("draw", DRAWS)
def test_planted_tokens_are_the_ones_that_rank(gear: FeatureInputs, draw: int) -> None:
    """All of them, with their sign, and no other; of a family the rung from which on it acts leads."""
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    drivers = [
        driver if driver.shape != "ramp" else Driver(driver.name, driver.size / 2, driver.threshold, "step")
        for driver in draw_drivers(domain, generator, n_families=3, n_binaries=3)
    ]
    context = plant_feature(gear, FEATURE, PlantedBuilds(domain, 9.0, tuple(drivers), noise=0.25, seed=draw))
    found = run_kind(context, "token_influence", FEATURE, n_bases=150)
    for sign, ranked in ((1, "enhancers"), (-1, "suppressors")):
        planted = sorted((driver for driver in drivers if driver.size * sign > 0), key=lambda driver: -abs(driver.size))
        listed: Any = found.aggregates.custom[ranked]
        leading = list(dict.fromkeys(_family(name) for name in listed))
        assert set(leading) == {driver.name for driver in planted}, ranked
        assert {token_of(driver) for driver in planted} <= set(listed), ranked
    assert len(found.claims) >= len(drivers)


@pytest.mark.parametrize("draw", DRAWS[:2])
def test_binaries_rank_by_what_they_add(gear: FeatureInputs, draw: int) -> None:
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    names = generator.permutation(sorted(domain.binaries))[:6].tolist()
    drivers = [Driver(name, size) for name, size in zip(names, (4.0, 3.0, 2.0, -2.0, -3.0, -4.0), strict=True)]
    context = plant_feature(gear, FEATURE, PlantedBuilds(domain, 9.0, tuple(drivers), noise=0.25, seed=draw))
    found = run_kind(context, "token_influence", FEATURE, n_bases=150)
    assert found.aggregates.custom["enhancers"] == names[:3]
    assert found.aggregates.custom["suppressors"] == names[:2:-1]


@pytest.mark.parametrize("draw", DRAWS)
def test_planted_core_and_tail_tokens_are_classified(gear: FeatureInputs, draw: int) -> None:
    """One family makes the feature active, a binary beside it drives it to its top, and another family is inert."""
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    core, inert = generator.choice(sorted(domain.families), 2, replace=False).tolist()
    rung = int(generator.choice([3, 6, 12]))
    rows = ExperimentContext("rows", gear, domain)
    has_core = rows.family_rungs(core) >= rung
    together = {name: int((has_core & rows.rows_with(token)).sum()) for name, token in domain.binaries.items()}
    tail = str(generator.choice([name for name, n in together.items() if n >= 25]))
    makes, drives = Driver(core, 2.0, rung, "step"), Driver(tail, 0.0)
    function = PlantedBuilds(domain, -0.5, (makes,), ((makes, drives, 4.0),), noise=0.3, seed=draw)
    context = plant_feature(gear, FEATURE, function)
    tokens = [f"{core}_{rung}", tail, f"{inert}_3"]
    found = run_kind(context, "core_coverage", FEATURE, tokens=tokens, threshold=0.9)
    said: Any = {row["token"]: row["classification"] for row in found.tables["token_coverage"].rows}
    assert said[tokens[0]] == "core"
    assert said[tail] == "tail"
    assert said[tokens[2]] != "core"
    assert found.aggregates.custom["core_tokens"] == [tokens[0]]
    assert any(text.startswith(f"{tail} marks the tail") for text in found.findings)
    assert not any(text.startswith(tokens[2]) for text in found.claims)


def _family(token: str) -> str:
    head, _, last = token.rpartition("_")
    return head if last.isdigit() else token
