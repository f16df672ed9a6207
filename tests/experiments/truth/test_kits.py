"""A planted special-spam feature is read as its special by way of its dominant weapon; a planted weapon is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mechscope.corpora.domain_for import domain_for
from mechscope.features import FeatureInputs
from mechscope.testing.planted_builds import Driver, PlantedBuilds, run_kind
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
DRAWS = np.random.default_rng(67).integers(1 << 30, size=3).tolist()


def common_weapons(gear: FeatureInputs) -> list[str]:
    names, counts = np.unique(gear.corpus.column("weapon").astype(str), return_counts=True)
    return [str(name) for name in names[counts >= 15]]


@pytest.mark.parametrize("kind", ["special", "sub"])
@pytest.mark.parametrize("draw", DRAWS)
def test_a_planted_kit_is_found_by_way_of_its_dominant_weapon(gear: FeatureInputs, kind: str, draw: int) -> None:
    """All weapons with the special or sub have it; one of them has it 2.6 times as much as the rest."""
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    kits, common = domain.attributes[kind], common_weapons(gear)
    names = sorted({kits[name] for name in common if sum(kits[other] == kits[name] for other in common) >= 5})
    value = str(generator.choice(names))
    holders = [name for name in common if kits[name] == value]
    top = str(generator.choice(holders))
    weapons = dict.fromkeys((name for name in kits if kits[name] == value), 1.3) | {top: 3.4}
    charge = Driver("special_charge_up", 0.3, 3, "step")
    context = plant_feature(
        gear, FEATURE, PlantedBuilds(domain, 0.3, (charge,), weapons=weapons, noise=0.25, seed=draw)
    )
    first: Any = run_kind(context, "weapon_sweep", FEATURE).aggregates.custom
    assert (first["dominant_weapon_detected"], first["dominant_weapon"]) == (True, top)
    assert first["recommended_followup"] == "kit_sweep"
    found = run_kind(context, "kit_sweep", FEATURE, analyze_combinations=True)
    second: Any = found.aggregates.custom
    assert second[f"top_{kind}"] == value
    assert second["explained_by"] == kind
    assert f"{kind} {value}" in second["conclusion"]


@pytest.mark.parametrize("draw", DRAWS)
def test_a_planted_weapon_does_not_speak_for_its_kit(gear: FeatureInputs, draw: int) -> None:
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    common = common_weapons(gear)
    shared = [
        name for name in common
        if all(sum(kits[other] == kits[name] for other in common) >= 5
               for kits in (domain.attributes["sub"], domain.attributes["special"]))
    ]  # fmt: skip
    top = str(generator.choice(shared))
    context = plant_feature(gear, FEATURE, PlantedBuilds(domain, 0.3, weapons={top: 3.0}, noise=0.25, seed=draw))
    assert run_kind(context, "weapon_sweep", FEATURE).aggregates.custom["dominant_weapon"] == top
    custom: Any = run_kind(context, "kit_sweep", FEATURE).aggregates.custom
    assert custom["explained_by"] is None
    assert "no attribute" in custom["conclusion"]
