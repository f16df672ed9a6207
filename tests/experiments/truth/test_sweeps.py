"""One family over its rungs finds every planted driver: direction and threshold; and nothing where nothing acts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mechscope.corpora.domain import Context
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import ExperimentContext
from mechscope.features import FeatureInputs
from mechscope.testing.planted_builds import Driver, PlantedBuilds, draw_drivers, run_kind
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
DRAWS = np.random.default_rng(41).integers(1 << 30, size=8).tolist()


def sweep(context: ExperimentContext, family: str, **more: Any) -> Any:
    return run_kind(context, "family_1d_sweep", FEATURE, n_bases=300, family=family, observed_beside=False, **more)


def said(result: Any) -> tuple[str, int | None]:
    return result.aggregates.custom["direction"], result.aggregates.custom["threshold_rung"]


@pytest.mark.parametrize(("draw", "base"), [(draw, (2.0, 6.0) if at < 5 else (-1.0, 1.0))
                                            for at, draw in enumerate(DRAWS)])  # fmt: skip
def test_every_planted_driver_has_its_direction_and_threshold(
    gear: FeatureInputs, draw: int, base: tuple[float, float]
) -> None:
    """Five features well above the floor, three that are at it in most rows."""
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    drivers = draw_drivers(domain, generator, n_families=4, n_binaries=2, highest=38 if base[0] > 0 else 21)
    function = PlantedBuilds(domain, float(generator.uniform(*base)), drivers, noise=0.25, seed=draw)
    context = plant_feature(gear, FEATURE, function)
    for driver in drivers[:4]:
        found = sweep(context, driver.name)
        assert said(found) == ("rises" if driver.size > 0 else "falls", driver.threshold), driver
        above = [row for row in found.tables["rung_deltas"].rows if row["rung"] > driver.threshold and row["p"]]
        assert f"from rung {driver.threshold} on" in found.claims[0] or not above, driver
    inert = [name for name in domain.families if name not in {driver.name for driver in drivers}]
    for name in generator.choice(inert, 2, replace=False).tolist():
        assert said(sweep(context, name)) == ("none", None), name


def test_the_curve_is_the_planted_one(gear: FeatureInputs) -> None:
    """Without noise and floor each rung's change is exactly what was planted."""
    domain = domain_for(gear.corpus)
    driver = Driver("quick_super_jump", -3.0, 12, "ramp")
    context = plant_feature(gear, FEATURE, PlantedBuilds(domain, 5.0, (driver, Driver("haunt", 1.0))))
    for row in sweep(context, "QSJ").tables["rung_deltas"].rows:
        if row["n"]:
            assert row["mean_delta"] == pytest.approx(driver.size * driver.share_at(row["rung"], domain))


@pytest.mark.parametrize("draw", np.random.default_rng(43).integers(1 << 30, size=3).tolist())
def test_what_acts_only_beside_a_token_is_seen_only_where_that_is_held(gear: FeatureInputs, draw: int) -> None:
    """SCU acts only with Comeback."""
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    threshold = int(generator.choice([3, 6, 12, 15]))
    charge, comeback = Driver("special_charge_up", 0.0, threshold, "step"), Driver("comeback", 0.8)
    size = float(generator.choice([-1, 1]) * generator.uniform(1.5, 3))
    function = PlantedBuilds(domain, 5.0, (charge, comeback), ((charge, comeback, size),), noise=0.25, seed=draw)
    context = plant_feature(gear, FEATURE, function)
    held = sweep(context, "SCU", stable_tokens=["comeback"])
    assert said(held) == ("rises" if size > 0 else "falls", threshold)
    assert held.aggregates.custom["max_rung_delta"] == pytest.approx(size, abs=0.15)
    assert "on contexts with comeback" in held.claims[0]
    without = run_kind(context, "family_1d_sweep", FEATURE, n_bases=300, family="SCU", observed_beside=False,
                       stable_tokens=["tenacity"])  # fmt: skip
    assert said(without) == ("none", None)  # tenacity and comeback share the head
    assert without.claims == ()


@pytest.mark.parametrize("draw", np.random.default_rng(44).integers(1 << 30, size=3).tolist())
def test_what_acts_only_on_a_weapon_is_seen_only_on_it(gear: FeatureInputs, draw: int) -> None:
    """ISM scales only on Stampers."""
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    stampers = [name for name in domain.groups["weapon"] if "Stamper" in name]
    assert len(stampers) > 1
    saver = Driver("ink_saver_main", 4.0, int(generator.choice([3, 6, 12])), "ramp")
    shares, index = saver.shares(domain), [domain.groups["weapon"].index(name) for name in stampers]
    plain = PlantedBuilds(domain, 2.0, (Driver("haunt", 1.0),), noise=0.25, seed=draw)

    def activation(made: Context) -> float:
        acts = sum(shares.get(token, 0.0) for token in made.tokens) if made.inputs["weapon_ids"] in index else 0.0
        return plain(made) + saver.size * acts

    context = plant_feature(gear, FEATURE, activation)
    held = sweep(context, "ISM", stable_weapon=str(generator.choice(stampers)))
    assert said(held) == ("rises", saver.threshold)
    others = [name for name in domain.groups["weapon"] if name not in stampers]
    elsewhere = sweep(context, "ISM", stable_weapon=str(generator.choice(others)))
    assert said(elsewhere) == ("none", None)
