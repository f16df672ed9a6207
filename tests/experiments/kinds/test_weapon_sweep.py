"""Weapons that stand out by plan, or not, and whether the sweep says so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from planted_rows import FEATURE, SPECIAL_OF, PlantedContext, custom_of, opened_subject, planted, rows_of, run

from mechscope.experiments import ExperimentSpec
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.findings import Findings
from mechscope.experiments.specs import DatasetSlice
from mechscope.stats import cohens_d


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedContext]:
    with opened_subject(tmp_path_factory.mktemp("subject")) as context:
        yield context


def commonest(context: PlantedContext, n: int) -> list[str]:
    names, counts = np.unique(context.group_values("weapon"), return_counts=True)
    return [str(name) for name in names[np.argsort(-counts)[:n]]]


def test_a_planted_weapon_is_dominant_and_leads_to_its_kit(subject: PlantedContext) -> None:
    top = commonest(subject, 1)[0]
    context = planted(subject, lambda names: np.where(names == top, 1.0, 0.2))
    found = run(context, "weapon_sweep", min_examples=10, top_k=5)
    assert found.success, found.error_message
    assert found.evidence == "observational"
    assert any(text.startswith("CORRELATIONAL") for text in found.diagnostics.warnings)
    assert any("DOMINANT WEAPON" in text for text in found.diagnostics.warnings)
    assert len(found.alternatives) == 3
    custom = custom_of(found)
    assert (custom["dominant_weapon_detected"], custom["dominant_weapon"]) == (True, top)
    assert custom["recommended_followup"] == "kit_sweep"
    rows = rows_of(found, "weapon_stats")
    assert len(rows) == 5
    assert context.planted is not None
    here = context.group_values("weapon") == top
    assert rows[0]["mean"] == pytest.approx(context.planted[here].mean())
    assert rows[0]["delta_from_global"] == pytest.approx(context.planted[here].mean() - context.planted.mean())
    assert rows[0]["std"] == pytest.approx(context.planted[here].std(ddof=1))
    assert rows[0]["n"] == here.sum()
    assert rows[0]["effect"] == pytest.approx(cohens_d(context.planted[here], context.planted[~here]).value)
    assert rows[0]["low"] < rows[0]["delta_from_global"] < rows[0]["high"]
    assert rows[0]["p_corrected"] < 0.01
    (row,) = rows_of(found, "held_out")
    assert row["weapon"] == top
    assert row["held_out_n"] < here.sum()
    size = f"{row['held_out_delta']:.3g} [{row['held_out_low']:.3g}, {row['held_out_high']:.3g}]"
    assert f"by {size} in the held-out half (n = {row['held_out_n']}, p = " in found.claims[0]
    assert top in found.claims[0]
    assert rows_of(found, "kits")[0]["special"] == SPECIAL_OF[top]


def test_small_groups_are_left_out_and_counted(subject: PlantedContext) -> None:
    context = planted(subject, lambda names: np.full(len(names), 0.2))
    counts = np.unique(context.group_values("weapon"), return_counts=True)[1]
    found = run(context, "weapon_sweep", min_examples=25, top_k_weapons=200)
    assert found.diagnostics.dropped["weapon with fewer than 25 rows"] == (counts < 25).sum()
    assert len(rows_of(found, "weapon_stats")) == (counts >= 25).sum()
    assert custom_of(found)["rows_left_out"] == counts[counts < 25].sum()


def test_noise_alone_has_no_dominant_weapon(subject: PlantedContext) -> None:
    detected = []
    for seed in range(6):
        context = planted(subject, lambda names: np.full(len(names), 0.2), seed=seed)
        found = run(context, "weapon_sweep")
        detected.append(custom_of(found)["dominant_weapon_detected"])
        assert not found.claims
    assert not any(detected)


def test_two_equal_weapons_are_not_dominant_and_their_shared_special_is_flagged(subject: PlantedContext) -> None:
    special = "Ink Storm"
    context = planted(
        subject, lambda names: np.where(np.array([SPECIAL_OF[name] == special for name in names]), 1.0, 0.2)
    )
    found = run(context, "weapon_sweep")
    assert found.success, found.error_message
    custom = custom_of(found)
    assert custom["dominant_weapon_detected"] is False
    assert f"special {special}" in custom["shared_kit"]


def test_a_weapon_that_only_lacks_the_others_abilities_loses_its_delta_when_adjusted(subject: PlantedContext) -> None:
    rungs = subject.family_rungs("swim_speed_up")
    context = planted(subject, lambda names: 0.05 * rungs.astype(np.float64))
    found = run(context, "weapon_sweep", top_k_weapons=10)
    rows = rows_of(found, "weapon_stats")
    crude = np.array([row["delta_from_global"] for row in rows], float)
    adjusted = np.array([row["adjusted"] for row in rows], float)
    assert np.abs(adjusted).mean() < 0.5 * np.abs(crude).mean()


def test_substitution_is_that_of_each_base_context(subject: PlantedContext) -> None:
    found = run(subject, "weapon_sweep", "interventional", min_examples=40, top_k_weapons=200)
    assert found.success, found.error_message
    assert found.evidence == "interventional"
    rows = {row["weapon"]: row for row in rows_of(found, "weapon_stats")}
    spec = ExperimentSpec(
        type="weapon_sweep", feature_id=FEATURE, mode="interventional", dataset_slice=DatasetSlice(sample_size=20)
    )
    bases = draw_bases(spec, subject, Findings())
    table = np.full((len(bases), len(rows)), np.nan)
    for at, base in enumerate(bases.contexts):
        changed = [subject.domain.substitute(base, groups={"weapon": weapon}) for weapon in rows]
        table[at] = subject.activations(changed, FEATURE)
    expected = (table - table.mean(axis=1, keepdims=True)).mean(axis=0)
    assert np.abs(expected).max() > 0.01
    (row,) = rows_of(found, "held_out")
    second, at = bases.is_held_out, list(rows).index(row["weapon"])
    centred = table - table.mean(axis=1, keepdims=True)
    assert at == centred[~second].mean(axis=0).argmax()
    assert row["held_out_delta"] == pytest.approx(centred[second, at].mean())
    assert row["held_out_low"] <= row["held_out_delta"] <= row["held_out_high"]
    np.testing.assert_allclose([row["mean_delta"] for row in rows.values()], expected, atol=1e-9)
