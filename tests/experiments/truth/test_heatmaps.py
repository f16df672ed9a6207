"""Grids find the sign of planted interactions, none where effects add up, and claim none that the floor makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mechscope.corpora.domain_for import domain_for
from mechscope.features import FeatureInputs
from mechscope.testing.planted_builds import Driver, PlantedBuilds, run_kind
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
RUNGS = [3, 6, 12, 15]
DRAWS = np.random.default_rng(47).integers(1 << 30, size=4).tolist()


def drawn(gear: FeatureInputs, generator: np.random.Generator) -> tuple[Any, Driver, Driver, Driver]:
    """The domain, a step, a step or ramp of a low threshold, and a binary; each with an effect of its own."""
    domain = domain_for(gear.corpus)
    one, other = generator.choice(sorted(domain.families), 2, replace=False).tolist()
    sizes = (generator.choice([-1, 1], 3) * generator.uniform(1, 2.5, 3)).tolist()
    steps = generator.choice([3, 6, 12], 2).tolist()
    binary = str(generator.choice(sorted(domain.binaries)))
    return domain, Driver(one, sizes[0], steps[0], "step"), Driver(other, sizes[1], steps[1], "step"), Driver(
        binary, sizes[2])  # fmt: skip


def grid(gear: FeatureInputs, function: PlantedBuilds, one: Driver, other: Driver) -> Any:
    rungs: dict[str, Any] = {} if other.shape == "binary" else {"rungs_y": RUNGS}
    return run_kind(plant_feature(gear, FEATURE, function), "family_2d_heatmap", FEATURE, n_bases=200,
                    family_x=one.name, family_y=other.name, rungs_x=RUNGS, **rungs)  # fmt: skip


@pytest.mark.parametrize("draw", DRAWS)
def test_planted_interactions_have_their_sign(gear: FeatureInputs, draw: int) -> None:
    """Between families, and between a family and a binary; the third pair adds up."""
    generator = np.random.default_rng(draw)
    domain, one, other, binary = drawn(gear, generator)
    sizes = (generator.choice([-1, 1], 2) * generator.uniform(1, 2.5, 2)).tolist()
    together = ((one, other, sizes[0]), (one, binary, sizes[1]))
    function = PlantedBuilds(domain, 12.0, (one, other, binary), together, noise=0.25, seed=draw)
    for first, second, size in (*together, (other, binary, 0.0)):
        found = grid(gear, function, first, second)
        custom = found.aggregates.custom
        sign = "none" if not size else "positive" if size > 0 else "negative"
        assert custom["interaction_sign"] == sign, (first, second, size)
        assert len(found.claims) == bool(size)
        if size:
            assert custom["interaction_is_free_of_floor"]
            assert custom["interaction_of_pair"] == pytest.approx(size, abs=0.35)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_floor_alone_makes_no_claim(gear: FeatureInputs, draw: int) -> None:
    """Two suppressors that add up, on a base that they bring to zero, with noise that lifts it over the floor."""
    generator = np.random.default_rng(draw)
    domain, one, other, binary = drawn(gear, generator)
    down = [Driver(driver.name, -1.2, driver.threshold, driver.shape) for driver in (one, other, binary)]
    function = PlantedBuilds(domain, 2.0, tuple(down), noise=0.5, seed=draw)
    for second in down[1:]:
        found = grid(gear, function, down[0], second)
        assert found.claims == ()
        if found.aggregates.custom["interaction_sign"] != "none":
            assert not found.aggregates.custom["interaction_is_free_of_floor"]
            assert any("the ReLU may have made it" in text for text in found.diagnostics.warnings)


def test_what_acts_only_beside_a_token_interacts_where_that_is_held(gear: FeatureInputs) -> None:
    """SCU and ISS act together only with Comeback; beside another head ability they do not."""
    domain = domain_for(gear.corpus)
    charge, saver, comeback = (
        Driver("special_charge_up", 0.5, 6, "step"), Driver("ink_saver_sub", 0.5, 3, "step"), Driver("comeback", 1.0)
    )  # fmt: skip
    plain = PlantedBuilds(domain, 5.0, (charge, saver, comeback), noise=0.25, seed=9)
    acting = PlantedBuilds(domain, 0.0, (), ((charge, saver, 2.0),))
    token = domain.binaries["comeback"]
    context = plant_feature(gear, FEATURE, lambda made: plain(made) + (acting(made) if token in made.tokens else 0.0))
    signs = {
        held: run_kind(context, "heatmap", FEATURE, n_bases=200, family_x="SCU", family_y="ISS", rungs_x=RUNGS,
                       rungs_y=RUNGS, stable_tokens=[held]).aggregates.custom["interaction_sign"]
        for held in ("comeback", "tenacity")
    }  # fmt: skip
    assert signs == {"comeback": "positive", "tenacity": "none"}
