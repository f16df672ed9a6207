"""Inert tokens that go with a driver: rows differ by them, setting them changes nothing, and the report says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import ExperimentContext
from mechscope.features import FeatureInputs
from mechscope.testing.planted_builds import Driver, PlantedBuilds, run_kind
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
DRAWS = np.random.default_rng(53).integers(1 << 30, size=5).tolist()


def with_companion(gear: FeatureInputs, draw: int) -> tuple[Any, ExperimentContext, str, str]:
    """A feature that one binary drives, and the family that goes with that binary most."""
    generator, domain = np.random.default_rng(draw), domain_for(gear.corpus)
    context = ExperimentContext("rows", gear, domain)
    families, binaries = sorted(domain.families), sorted(domain.binaries)
    there = [context.family_rungs(name) > 0 for name in families] + [
        context.rows_with(domain.binaries[name]) for name in binaries
    ]
    together = np.abs(np.corrcoef(np.array(there)))[len(families) :, : len(families)]
    strong = np.flatnonzero(together.max(axis=1) > 0.12)
    at = int(generator.choice(strong))
    function = PlantedBuilds(domain, 2.0, (Driver(binaries[at], 3.0),), noise=0.25, seed=draw)
    return domain, plant_feature(gear, FEATURE, function), binaries[at], families[int(together[at].argmax())]


def covers_zero(row: Any, low: str, high: str) -> bool:
    return bool(row[low] <= 0 <= row[high])


@pytest.mark.parametrize("draw", DRAWS)
def test_a_companion_differs_in_rows_and_does_nothing_when_set(gear: FeatureInputs, draw: int) -> None:
    _, context, driver, inert = with_companion(gear, draw)
    found = run_kind(context, "family_1d_sweep", FEATURE, n_bases=300, family=inert)
    pairs: list[Any] = [
        (done, seen)
        for done, seen in zip(found.tables["rung_deltas"].rows, found.tables["observed_rungs"].rows, strict=True)
        if done["low"] is not None and seen["crude_low"] is not None
    ]
    crude = [seen for _, seen in pairs if not covers_zero(seen, "crude_low", "crude_high")]
    assert any(covers_zero(done, "low", "high") for done, seen in pairs if seen in crude), (driver, inert)
    assert all(done["p_corrected"] > 0.05 for done, _ in pairs)
    assert found.aggregates.custom["direction"] == "none"
    assert found.claims == ()
    told = [text for text in found.findings if text.startswith(f"{inert}: rows differ")]
    assert any("the intervention changes nothing that could be measured" in text for text in told)
    assert found.findings[0] in found.to_markdown()


def test_intervals_of_inert_rungs_cover_zero_as_often_as_they_should(gear: FeatureInputs) -> None:
    """95 % of the intervals of rungs that do nothing cover zero, and hardly any crude one."""
    covered, crude = [], []
    for draw in np.random.default_rng(59).integers(1 << 30, size=16).tolist():
        _, context, _, inert = with_companion(gear, draw)
        found = run_kind(context, "family_1d_sweep", FEATURE, n_bases=120, family=inert, rungs=[3, 6], seed=draw)
        covered += [covers_zero(row, "low", "high") for row in found.tables["rung_deltas"].rows]
        crude += [covers_zero(row, "crude_low", "crude_high") for row in found.tables["observed_rungs"].rows]
    assert len(covered) == 32
    assert sum(covered) >= 26  # 30.4 expected; of 16 independent ones fewer than 13 come once in 800
    assert sum(crude) <= 8


def test_a_row_test_alone_would_have_claimed_it(gear: FeatureInputs) -> None:
    """The observational mode without confounders finds an association; it is told as one, with its alternatives."""
    _, context, driver, inert = with_companion(gear, DRAWS[0])
    crude = run_kind(context, "family_1d_sweep", FEATURE, mode="observational", family=inert, confounders=[])
    assert crude.aggregates.custom["direction"] != "none"
    assert all("(associated)" in text for text in crude.claims)
    assert len(crude.alternatives) == 3
    adjusted = run_kind(context, "family_1d_sweep", FEATURE, mode="observational", family=inert, confounders=[driver])
    assert adjusted.aggregates.custom["direction"] == "none"
