"""Frequent itemsets: planted sets come first and nothing else does; the lattice and the numbers against brute force."""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact, hypergeom

from mechscope.corpora.domain import Context, Domain
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.algorithms import BitColumns, mine_itemsets
from mechscope.experiments.itemsets.evidence import HeldOutRows
from mechscope.experiments.itemsets.items import Item, ItemTable, read_items
from mechscope.experiments.itemsets.lattice import Lattice, contrast_activity, generalised
from mechscope.testing.experiments import check_experiment_kind
from mechscope.testing.planted_features import plant_feature

FEATURE = 3


def run(context: ExperimentContext, **variables: Any) -> ExperimentResult:
    constraints = variables.pop("constraints", [])
    spec = ExperimentSpec.parse(
        {"type": "itemsets", "feature_id": FEATURE, "variables": variables, "constraints": constraints}
    )
    return get_runner_for_type("itemsets").run(spec, context)


def rows_of(result: ExperimentResult, table: str) -> list[dict[str, Any]]:
    assert result.success, result.error_message
    return [dict(row) for row in result.tables[table].rows]


def planted_pairs(builds: ExperimentContext, *, n: int, seed: int) -> list[tuple[str, int, str]]:
    """Family, rung and binary, of those that at least 40 builds have together and 40 have only one of."""
    domain, generator, found = builds.domain, np.random.default_rng(seed), list[tuple[str, int, str]]()
    while len(found) < n:
        family = str(generator.choice(list(domain.families)))
        rung = int(generator.choice(domain.families[family].rungs[:4]))
        binary = str(generator.choice(list(domain.binaries)))
        has_rung = builds.family_rungs(family) >= rung
        has = builds.rows_with(domain.binaries[binary])
        if min((has_rung & has).sum(), (has_rung & ~has).sum(), (~has_rung & has).sum()) >= 40:
            found.append((family, rung, binary))
    return found


def and_of(domain: Domain, family: str, rung: int, binary: str) -> Callable[[Context], float]:
    return lambda build: 3.0 * (domain.rung(build, family) >= rung and domain.has(build, binary))


def test_planted_sets_are_found_with_their_rung_and_nothing_is_added_to_them(builds: ExperimentContext) -> None:
    for family, rung, binary in planted_pairs(builds, n=4, seed=20):
        planted = plant_feature(builds.inputs, FEATURE, and_of(builds.domain, family, rung, binary))
        result = run(planted, min_support=0.03)
        first = rows_of(result, "itemsets")[0]
        assert result.aggregates.custom["top_itemset"] == first["items"] == f"{family}_{rung} + {binary}"
        assert first["active_support"] == 1.0
        assert first["inactive_support"] == 0.0
        assert first["confirmed"]
        # a superset is in no more of the active rows, so that it adds nothing; the two parts alone may be claimed
        assert not any(row["confirmed"] and {family, binary} <= names(row) for row in rows_of(result, "itemsets")[1:])
        assert result.evidence == "observational"
        assert len(result.alternatives) == 3
        assert all("associated" in claim for claim in result.claims)


def names(row: dict[str, Any]) -> set[str]:
    return {part.rsplit("_", 1)[0] if part[-1].isdigit() else part for part in row["items"].split(" + ")}


def test_numbers_are_those_of_a_count_row_by_row(builds: ExperimentContext) -> None:
    family, rung, binary = planted_pairs(builds, n=1, seed=21)[0]
    noise = np.random.default_rng(22)
    rule = and_of(builds.domain, family, rung, binary)
    planted = plant_feature(builds.inputs, FEATURE, lambda build: max(rule(build), float(noise.random() < 0.05)))
    result = run(planted, min_support=0.03)
    row: dict[str, Any] = {}
    for table in ("itemsets", "itemset_details"):
        row |= next(row for row in rows_of(result, table) if row["items"] == f"{family}_{rung} + {binary}")
    # the halves are drawn by the experiment: the counts of both halves together are those of the corpus
    active = planted.row_activations(FEATURE) > 0
    assert row["n_active"] <= active.sum()
    k = round(row["active_support"] * row["n_active"])
    k_other = round(row["inactive_support"] * row["n_inactive"])
    counts = [[k, k_other], [row["n_active"] - k, row["n_inactive"] - k_other]]
    assert row["p"] == pytest.approx(fisher_exact(counts, alternative="greater").pvalue)
    assert row["n"] == k + k_other
    assert row["confidence"] == pytest.approx(k / (k + k_other))
    n = row["n_active"] + row["n_inactive"]
    assert row["lift"] == pytest.approx(k * n / (row["n_active"] * (k + k_other)))
    assert row["leverage"] == pytest.approx(k / n - (k + k_other) * row["n_active"] / n**2)
    assert row["contrast_low"] < row["contrast"] < row["contrast_high"]
    assert 1 / 200 <= row["p_null"] <= 1


def with_activity(builds: ExperimentContext, active: np.ndarray) -> ExperimentContext:
    return plant_feature(builds.inputs, FEATURE, lambda build: float(active[build.row]))


def test_noise_claims_nothing(builds: ExperimentContext) -> None:
    generator, n_claiming = np.random.default_rng(23), 0
    for _ in range(10):
        active = generator.random(builds.corpus.n_rows) < generator.uniform(0.05, 0.5)
        null = with_activity(builds, active)
        result = run(null, min_support=0.05, n_draws=19)
        assert result.success, result.error_message
        n_claiming += bool(result.claims)
    assert n_claiming <= 2  # 0.5 expected at most


def test_families_are_never_twice_in_a_set(builds: ExperimentContext) -> None:
    pair = planted_pairs(builds, n=1, seed=24)[0]
    planted = plant_feature(builds.inputs, FEATURE, and_of(builds.domain, *pair))
    for rungs in ("at_least", "exactly"):
        result = run(planted, min_support=0.02, rungs=rungs, constraints=["one_rung_per_family"], max_size=3)
        for row in rows_of(result, "closed_sets"):
            assert len(names(row)) == row["size"]
        assert any("two rungs of one family" in note for note in result.diagnostics.notes)


def test_items_at_least_and_exactly(builds: ExperimentContext) -> None:
    rows = np.arange(builds.corpus.n_rows)
    at_least, exactly = (read_items(builds, rungs=rungs) for rungs in ("at_least", "exactly"))
    assert at_least.names == exactly.names
    contexts = builds.contexts_of(rows)
    for name, counts in (("at_least", at_least.columns(rows).counts()), ("exactly", exactly.columns(rows).counts())):
        for item in np.random.default_rng(25).choice(len(at_least.items), 12, replace=False).tolist():
            label = at_least.names[item]
            if label in builds.domain.binaries:
                expected = sum(builds.domain.has(build, label) for build in contexts)
            else:
                family, rung = label.rsplit("_", 1)
                seen = [builds.domain.rung(build, family) for build in contexts]
                expected = sum(r >= int(rung) if name == "at_least" else r == int(rung) for r in seen)
            assert counts[item] == expected


def test_the_lattice_is_that_of_brute_force() -> None:
    """Three ladders of two rungs (at least), and three items without."""
    generator = np.random.default_rng(26)
    levels = generator.integers(0, 3, (400, 3))
    matrix = np.zeros((400, 9), bool)
    for ladder in range(3):
        matrix[:, 2 * ladder] = levels[:, ladder] >= 1
        matrix[:, 2 * ladder + 1] = levels[:, ladder] >= 2
    matrix[:, 6:] = generator.random((400, 3)) < 0.4
    matrix[:, 8] |= matrix[:, 7]
    active = generator.random(400) < 0.2 + 0.5 * (matrix[:, 1] & matrix[:, 6])
    has_lower = np.array([False, True] * 3 + [False] * 3)
    families = np.array([0, 0, 1, 1, 2, 2, -1, -1, -1])
    columns = [BitColumns.from_dense(matrix[part]) for part in (active, ~active)]
    sets = mine_itemsets(columns[0], min_support=0.05, max_length=3, families=families)
    lattice = Lattice.of(sets, has_lower)
    contrast = contrast_activity(lattice, columns[1])
    held = {
        members: matrix[:, members].all(axis=1)
        for size in range(4)
        for members in combinations(range(9), size)
        if not any({2 * ladder, 2 * ladder + 1} <= set(members) for ladder in range(3))
    }
    mined = sets.tuples()
    for at, members in enumerate(mined):
        above = [other for other in mined if members in set(generalised(other, has_lower))]
        assert lattice.is_maximal[at] == (not above)
        count = (held[members] & active).sum()
        assert lattice.is_closed[at] == all((held[other] & active).sum() < count for other in above)
        expected = max(
            hypergeom.sf(count - 1, held[part].sum(), (held[part] & active).sum(), held[members].sum())
            for part in generalised(members, has_lower)
        )
        assert contrast.p_parts[at] == pytest.approx(expected, rel=1e-9)
    best = mined[int(np.argmax(np.where(contrast.p_parts < 0.05, contrast.leverage, -1)))]
    assert best == (1, 6)


def test_repeated_rows_are_no_more_evidence() -> None:
    """Each row eight times in one cluster: Fisher alone would find associations of noise, the clustered p does not."""
    generator, n_found = np.random.default_rng(27), {True: 0, False: 0}
    for _ in range(100):
        has = np.repeat(generator.random(120) < 0.4, 8)
        active = np.repeat(generator.random(120) < 0.3, 8)
        table = ItemTable((Item("one", "", partial(has.reshape, len(has))),))
        rows = (np.flatnonzero(active), np.flatnonzero(~active))
        for is_clustered in (True, False):
            clusters = np.concatenate(rows) // 8 if is_clustered else None
            n_found[is_clustered] += HeldOutRows(table, *rows, clusters).row((0,))["p"] < 0.05
    assert n_found[True] <= 10
    assert n_found[False] >= 20


def test_documents_are_not_rows(sentences: ExperimentContext) -> None:
    n_active = [
        int((sentences.row_activations(feature) > 0).sum()) for feature in range(sentences.inputs.store.n_features)
    ]
    feature = int(np.argmin(np.abs(np.array(n_active) - sentences.corpus.n_rows / 2)))
    found = check_experiment_kind("frequent_itemsets", sentences, feature, {"min_support": 0.1, "n_draws": 19})
    assert found["observational"].aggregates.custom["n_frequent"]


def test_groups_can_be_items_and_what_is_missing_is_said(builds: ExperimentContext) -> None:
    weapons = builds.group_values("weapon")
    common = str(max(set(weapons.tolist()), key=weapons.tolist().count))
    planted = with_activity(builds, weapons == common)
    result = run(planted, groups=["weapon"], min_support=0.3)
    assert rows_of(result, "single_items")[0]["items"] == f"weapon {common}"
    assert "weapon" in str(run(planted, groups=["weapn"]).error_message)
    always = plant_feature(builds.inputs, FEATURE, lambda _: 1.0)
    failed = run(always)
    assert not failed.success
    assert "0 inactive rows" in str(failed.error_message)
