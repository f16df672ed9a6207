"""What the group kinds hold constant, and their figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from planted_rows import FEATURE, SPECIAL_OF, PlantedContext, custom_of, opened_subject, planted, rows_of, run

from mechscope.corpora.domains.splatoon.weapons import weapons
from mechscope.experiments import ExperimentSpec, get_runner_for_type

CLASS_OF = {weapon.name: weapon.weapon_class for weapon in weapons()}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedContext]:
    with opened_subject(tmp_path_factory.mktemp("subject")) as context:
        yield context


def commonest_class(subject: PlantedContext) -> str:
    names, counts = np.unique([CLASS_OF[name] for name in subject.group_values("weapon")], return_counts=True)
    return str(names[np.argmax(counts)])


@pytest.mark.parametrize("mode", ["observational", "interventional"])
def test_a_kit_sweep_within_a_class_has_weapons_of_that_class_alone(subject: PlantedContext, mode: str) -> None:
    wanted = commonest_class(subject)
    found = run(subject, "kit_sweep", mode, stable_groups={"class": wanted.upper()}, min_examples=5, top_k=99)
    assert found.success, found.error_message
    specials = {SPECIAL_OF[name] for name, of in CLASS_OF.items() if of == wanted}
    shown = {str(row["special"]) for row in rows_of(found, "special_stats")}
    assert shown
    assert shown <= specials
    assert f"class {wanted}" in str(custom_of(found)["held"]).replace(wanted.upper(), wanted)
    if mode == "observational":
        inside = np.array([CLASS_OF[name] == wanted for name in subject.group_values("weapon")])
        assert found.diagnostics.n_contexts_tested == inside.sum()


@pytest.mark.parametrize("mode", ["observational", "interventional"])
def test_a_weapon_sweep_within_a_class_compares_its_weapons(subject: PlantedContext, mode: str) -> None:
    wanted = commonest_class(subject)
    found = run(subject, "weapon_sweep", mode, stable_groups={"class": wanted}, min_examples=5, top_k=99)
    assert found.success, found.error_message
    assert {CLASS_OF[str(row["weapon"])] for row in rows_of(found, "weapon_stats")} == {wanted}


def test_another_group_is_swept_on_one_weapon_and_with_a_token(subject: PlantedContext) -> None:
    names, counts = np.unique(subject.group_values("weapon"), return_counts=True)
    weapon = str(names[np.argmax(counts)])
    column = next(name for name in subject.corpus.names_with_role("nuisance", "row"))
    here = subject.group_values("weapon") == weapon
    found = run(subject, "group_sweep", group=column, stable_weapon=weapon, min_examples=3)
    assert found.success, found.error_message
    assert found.diagnostics.n_contexts_tested == here.sum()
    assert sum(int(row["n"]) for row in rows_of(found, f"{column}_stats")) <= here.sum()
    comeback = subject.rows_with(subject.domain.binaries["comeback"])
    held = run(subject, "group_sweep", group=column, stable_tokens=["comeback"], min_examples=3)
    assert held.diagnostics.n_contexts_tested == comeback.sum()


@pytest.mark.parametrize(
    ("kind", "variables", "message"),
    [
        ("weapon_sweep", {"stable_weapon": "Splattershot"}, "holds weapon Splattershot constant"),
        ("weapon_sweep", {"group": "region", "stable_groups": {"region": "x"}}, "region"),
        ("kit_sweep", {"stable_groups": {"weapon": "Splattershot"}}, "holds weapon"),
        ("kit_sweep", {"attributes": ["sub"], "stable_groups": {"sub": "Splat Bomb"}}, "holds sub"),
        ("kit_sweep", {"stable_groups": {"clas": "Blaster"}}, "clas"),
        ("kit_sweep", {"stable_groups": {"class": "Blasterr"}}, "did you mean"),
    ],
)
def test_what_cannot_be_held_is_refused(
    subject: PlantedContext, kind: str, variables: dict[str, Any], message: str
) -> None:
    found = run(subject, kind, **variables)
    assert not found.success
    assert message in str(found.error_message)


def test_figures_show_the_groups_of_the_table_with_their_intervals(subject: PlantedContext) -> None:
    context = planted(subject, lambda names: np.where(names == names[0], 1.0, 0.2))
    for kind, mode, names in (
        ("weapon_sweep", "observational", {"weapon_bars"}),
        ("weapon_sweep", "interventional", {"weapon_bars"}),
        ("kit_sweep", "observational", {"sub_bars", "special_bars", "combo_bars"}),
        ("kit_sweep", "interventional", {"sub_bars", "special_bars", "combo_bars"}),
    ):
        variables = {"analyze_combinations": True} if kind == "kit_sweep" else {}
        spec = ExperimentSpec.parse(
            {"type": kind, "feature_id": FEATURE, "mode": mode, "variables": {**variables, "min_examples": 30},
             "outputs": {"figures": True}, "dataset_slice": {} if mode == "observational" else {"sample_size": 10}}
        )  # fmt: skip
        found = get_runner_for_type(kind).run(spec, context)
        assert found.success, found.error_message
        assert set(found.figures) == names
        for name, figure in found.figures.items():
            table = found.tables[name.removesuffix("_bars") + "_stats"]
            drawn = figure.traces[0]["x"]
            assert len(drawn) == len(table.rows)
            assert drawn == sorted(drawn, reverse=True)
            bounded = [row["low"] is not None for row in table.rows]
            assert ("error_x" in figure.traces[0]) == any(bounded)
            assert ("no interval" in figure.caption) == (not all(bounded))
            assert any(bounded) or name == "combo_bars"  # most pairs of sub and special are those of a weapon or two
