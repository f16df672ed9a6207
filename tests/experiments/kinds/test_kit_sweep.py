"""A planted special is read as a special, a planted weapon as a weapon."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from planted_rows import SPECIAL_OF, SUB_OF, PlantedContext, custom_of, opened_subject, planted, rows_of, run


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedContext]:
    with opened_subject(tmp_path_factory.mktemp("subject")) as context:
        yield context


def test_special_spam_is_read_as_the_special_and_not_as_its_most_active_weapon(subject: PlantedContext) -> None:
    special = "Ink Storm"
    names, counts = np.unique(subject.group_values("weapon"), return_counts=True)
    with_it = [str(name) for name in names[np.argsort(-counts)] if SPECIAL_OF[str(name)] == special]
    spam = dict.fromkeys(with_it, 1.1) | {with_it[0]: 1.6}
    context = planted(subject, lambda weapons: np.array([spam.get(weapon, 0.2) for weapon in weapons]))
    first = run(context, "weapon_sweep", min_examples=10)
    assert custom_of(first)["top_weapon"] == with_it[0]
    found = run(context, "kit_sweep", min_examples=10, analyze_combinations=True)
    assert found.success, found.error_message
    custom = custom_of(found)
    assert custom["top_weapon"] == with_it[0]
    assert custom["top_special"] == special
    assert custom["explained_by"] == "special"
    assert f"special {special} mostly explains the delta of weapon {with_it[0]}" in str(custom["conclusion"])
    row = next(row for row in rows_of(found, "kit_of_top_weapon") if row["attribute"] == "special")
    assert row["share_low"] < row["share_of_delta"] < row["share_high"]
    assert f"{100 * row['share_of_delta']:.0f} % [{100 * row['share_low']:.0f}, " in str(custom["conclusion"])
    assert row["flag"] == "n 5-20: few" or row["n_other_weapons"] < 5
    (claim,) = [text for text in found.claims if "with one special" in text]
    assert claim.endswith("associated)")
    spam |= {with_it[0]: 2.3}
    second = run(planted(subject, lambda weapons: np.array([spam.get(weapon, 0.2) for weapon in weapons])), "kit_sweep")
    assert "special Ink Storm partly explains" in str(custom_of(second)["conclusion"])
    assert float(str(custom["special_share_of_weapon_variance"])) > 0.8
    assert float(str(custom["special_share_p"])) < 0.01
    for row in rows_of(found, "combo_stats"):
        assert (row["p"] is None) == (row["p_corrected"] is None) == (row["effect"] is None) == (row["n_clusters"] < 5)
    assert any(row["n_clusters"] < 5 for row in rows_of(found, "combo_stats"))
    assert custom["top_combo"] is None or all(
        row["n_clusters"] >= 5 for row in rows_of(found, "combo_stats") if row["combo"] == custom["top_combo"]
    )
    assert {"sub_stats", "special_stats", "combo_stats"} <= set(found.tables)
    assert context.planted is not None
    here = np.isin(context.group_values("weapon"), with_it)
    row = rows_of(found, "special_stats")[0]
    assert row["mean"] == pytest.approx(context.planted[here].mean())
    assert row["delta_from_global"] == pytest.approx(context.planted[here].mean() - context.planted.mean())
    assert (row["n"], row["n_clusters"]) == (here.sum(), len(with_it))
    assert row["p_corrected"] < 0.05
    assert any(text.startswith("CORRELATIONAL") for text in found.diagnostics.warnings)
    assert len(found.alternatives) == 3


def test_one_active_weapon_does_not_speak_for_its_kit(subject: PlantedContext) -> None:
    names, counts = np.unique(subject.group_values("weapon"), return_counts=True)
    enough = {str(name) for name in names[counts >= 10]}
    # its kit must be shared by several others, or nothing could be told
    top = max(
        enough,
        key=lambda name: min(sum(of[other] == of[name] for other in enough) for of in (SPECIAL_OF, SUB_OF)),
    )
    context = planted(subject, lambda weapons: np.where(weapons == top, 1.5, 0.2))
    found = run(context, "kit_sweep", min_examples=10)
    custom = custom_of(found)
    assert custom["top_weapon"] == top
    assert custom["explained_by"] is None
    assert "no attribute of" in str(custom["conclusion"])
    assert not any(row["explains"] for row in rows_of(found, "kit_of_top_weapon"))
    assert float(str(custom["special_share_p"])) > 0.05


def test_noise_gives_no_kit(subject: PlantedContext) -> None:
    for seed in range(3):
        context = planted(subject, lambda weapons: np.full(len(weapons), 0.2), seed=seed)
        custom = custom_of(run(context, "kit_sweep"))
        assert custom["explained_by"] is None
        assert not run(context, "kit_sweep").claims


def test_substituted_kits_average_their_weapons(subject: PlantedContext) -> None:
    weapons = run(subject, "weapon_sweep", "interventional", min_examples=30, top_k_weapons=200)
    kits = run(subject, "kit_sweep", "interventional", min_examples=30, top_k=50)
    assert kits.success, kits.error_message
    assert kits.evidence == "interventional"
    delta = {row["weapon"]: row["mean_delta"] for row in rows_of(weapons, "weapon_stats")}
    for row in rows_of(kits, "special_stats"):
        own = [value for name, value in delta.items() if SPECIAL_OF[str(name)] == row["special"]]
        assert len(own) == row["n_weapons"]
        assert row["mean_delta"] == pytest.approx(np.mean(own), abs=1e-9)
