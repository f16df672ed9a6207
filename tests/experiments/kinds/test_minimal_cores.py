"""Minimal cores: planted sets are found in every context and held by held-out ones; noise claims nothing."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from mechscope.corpora.domain import Context, Domain
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.cores.finding import search_contexts
from mechscope.experiments.cores.players import Players, TokenCore, kept_alone
from mechscope.experiments.findings import Findings
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
Pair = tuple[str, int, str]


def run(context: ExperimentContext, **variables: Any) -> ExperimentResult:
    spec = ExperimentSpec.parse({"type": "minimal_cores", "feature_id": FEATURE, "variables": variables})
    return get_runner_for_type("minimal-cores").run(spec, context)


def rows_of(result: ExperimentResult, table: str) -> list[dict[str, Any]]:
    assert result.success, result.error_message
    return [dict(row) for row in result.tables[table].rows]


def cores_by_row(result: ExperimentResult) -> dict[int, frozenset[str]]:
    found: dict[int, frozenset[str]] = {}
    for row in rows_of(result, "context_cores"):
        assert row["largest_without_one"] < row["activation"]
        found[row["row"]] = found.get(row["row"], frozenset()) | {row["core"]}
    return found


def custom(result: ExperimentResult) -> Any:
    assert result.success, result.error_message
    return result.aggregates.custom


def planted_pairs(builds: ExperimentContext, *, n: int, seed: int) -> list[Pair]:
    """Family, rung and binary that at least 40 builds have together; no name twice."""
    domain, generator, found = builds.domain, np.random.default_rng(seed), list[Pair]()
    while len(found) < n:
        family = str(generator.choice(list(domain.families)))
        rung = int(generator.choice(domain.families[family].rungs[:4]))
        binary = str(generator.choice(list(domain.binaries)))
        together = (builds.family_rungs(family) >= rung) & builds.rows_with(domain.binaries[binary])
        if together.sum() >= 40 and not any({family, binary} & {pair[0], pair[2]} for pair in found):
            found.append((family, rung, binary))
    return found


def and_of(domain: Domain, pair: Pair) -> Callable[[Context], bool]:
    return lambda build: domain.rung(build, pair[0]) >= pair[1] and domain.has(build, pair[2])


def planted(builds: ExperimentContext, *pairs: Pair) -> ExperimentContext:
    """Three where any of the pairs is whole, else nothing."""
    rules = [and_of(builds.domain, pair) for pair in pairs]
    return plant_feature(builds.inputs, FEATURE, lambda build: 3.0 * any(rule(build) for rule in rules))


def drawn_by_input(builds: ExperimentContext, draw: Callable[[], float], known: dict[Any, float]) -> ExperimentContext:
    """What is drawn for each distinct input, once."""

    def activation(build: Context) -> float:
        if build.key not in known:
            known[build.key] = draw()
        return known[build.key]

    return plant_feature(builds.inputs, FEATURE, activation)


def named(pair: Pair) -> str:
    return " + ".join(sorted((f"{pair[0]}_{pair[1]}", pair[2])))


@pytest.mark.parametrize("method", ["auto", "quickxplain", "ddmin"])
def test_planted_sets_are_the_core_of_every_context(builds: ExperimentContext, method: str) -> None:
    for pair in planted_pairs(builds, n=2, seed=40 + len(method)):
        result = run(planted(builds, pair), method=method, n_held_out=40)
        assert set(cores_by_row(result).values()) == {frozenset({named(pair)})}
        assert custom(result)["top_core"] == custom(result)["consensus_core"] == named(pair)
        assert custom(result)["covering_cores"] == custom(result)["confirmed_cores"] == [named(pair)]
        (claim,) = result.claims
        assert claim.startswith(named(pair))
        inserted, removed = rows_of(result, "core_tests")
        assert inserted["mean_delta"] == pytest.approx(3.0)
        assert removed["mean_delta"] == pytest.approx(-3.0)
        assert inserted["reach"] == removed["reach"] == 1.0
        assert abs(inserted["control_delta"]) < 1.0
        assert rows_of(result, "core_precision")[0]["precision"] == 1.0
        in_core = {row["token"] for row in rows_of(result, "tokens") if row["n_in_core"]}
        steps = [rung for rung in builds.domain.families[pair[0]].rungs if rung <= pair[1]]
        assert in_core == {pair[2], *(f"{pair[0]}_{rung}" for rung in steps)}


def test_two_alternative_cores_are_both_found(builds: ExperimentContext) -> None:
    first, second = planted_pairs(builds, n=2, seed=30)
    result = run(planted(builds, first, second), n_contexts=24, n_held_out=40)
    assert set(custom(result)["covering_cores"]) == {named(first), named(second)}
    assert set(custom(result)["confirmed_cores"]) == {named(first), named(second)}
    for build, cores in zip(builds.contexts_of(list(found := cores_by_row(result))), found.values(), strict=True):
        assert cores == {named(pair) for pair in (first, second) if and_of(builds.domain, pair)(build)}
    assert len(found) == 24


def test_cores_are_those_of_brute_force_over_all_rungs(builds: ExperimentContext) -> None:
    """Random functions, not monotone; the smallest elements of the sufficient rungs, by trying all."""
    generator, domain = np.random.default_rng(33), builds.domain
    rows = generator.permutation(builds.corpus.n_rows)
    for base in [base for base in builds.contexts_of(rows) if 4 <= len(Players.of(domain, base)) <= 8][:5]:
        drawn = drawn_by_input(builds, lambda: float(generator.random() + 0.3), {base.key: 2.0})
        constraints = Constraints((), drawn, Findings())
        (found,) = search_contexts(
            drawn, FEATURE, [Players.of(domain, base)], constraints, share=0.5, method="auto", budget=1024, seed=1
        )
        assert found.search.is_complete
        families = [name for name in domain.families if domain.rung(base, name)]
        binaries = [name for name in domain.binaries if domain.has(base, name)]
        ladders = [[0, *(r for r in domain.families[f].rungs if r <= domain.rung(base, f))] for f in families]
        sufficient = []
        for levels in product(*ladders, *[(0, 1)] * len(binaries)):
            rungs = dict(zip(families, levels, strict=False))
            there = dict(zip(binaries, map(bool, levels[len(families) :]), strict=True))
            if drawn.activations([domain.substitute(base, rungs=rungs, binaries=there)], FEATURE)[0] >= 1.0:
                sufficient.append(levels)
        smallest = {
            a for a in sufficient if not any(b != a and all(np.less_equal(b, a)) for b in sufficient)
        }  # fmt: skip
        names = [*families, *binaries]
        expected = {
            frozenset(
                (name, level if name in families else 0) for name, level in zip(names, levels, strict=True) if level
            )
            for levels in smallest
        }
        assert {frozenset((part.name, part.rung) for part in core.parts) for core in found.cores} == expected


def test_noise_and_mere_counts_claim_nothing(builds: ExperimentContext) -> None:
    generator = np.random.default_rng(34)
    for _ in range(2):
        noise = drawn_by_input(builds, lambda: float(generator.normal(0, 1)), {})
        result = run(noise, n_held_out=30, n_contexts=6, top_k=4)
        assert result.success, result.error_message
        assert not result.claims
    # whatever is put in raises it: no set of tokens does more than others of its shape
    counts = plant_feature(builds.inputs, FEATURE, lambda build: float(len(build.tokens)))
    result = run(counts, n_contexts=6, n_held_out=40, top_k=4)
    assert not result.claims


def test_what_is_held_is_no_part_of_a_core(builds: ExperimentContext) -> None:
    pair = planted_pairs(builds, n=1, seed=35)[0]
    result = run(planted(builds, pair), stable_tokens=[pair[2]])
    assert custom(result)["confirmed_cores"] == [f"{pair[0]}_{pair[1]}"]
    assert all(pair[2] in row["context"] for row in rows_of(result, "contexts"))


def test_families_of_sentences_are_held_against_their_lowest_rung(sentences: ExperimentContext) -> None:
    domain = sentences.domain
    planted = plant_feature(
        sentences.inputs,
        FEATURE,
        lambda text: 2.0 * (domain.rung(text, "tense") >= 2 and domain.rung(text, "number") >= 2),
    )
    result = run(planted)
    assert custom(result)["confirmed_cores"] == ["number_plural + tense_present"]
    assert any("tense cannot be absent" in note for note in result.diagnostics.notes)


def test_a_feature_that_needs_no_token_has_no_core(builds: ExperimentContext) -> None:
    result = run(plant_feature(builds.inputs, FEATURE, lambda _: 1.0))
    assert custom(result)["n_without_tokens"] == custom(result)["n_contexts"]
    assert not result.claims
    assert "no token is needed" in result.diagnostics.warnings[0]
    assert not result.findings


def test_a_core_kept_alone_is_the_context_without_the_rest(builds: ExperimentContext) -> None:
    domain, constraints = builds.domain, Constraints((), builds, Findings())
    generator = np.random.default_rng(36)
    for base in builds.contexts_of(generator.choice(builds.corpus.n_rows, 20, replace=False)):
        players = Players.of(domain, base)
        some = generator.random(len(players)) < 0.5
        core = players.core(np.flatnonzero(some).tolist())
        alone = kept_alone(players, core, constraints)
        assert alone is not None
        assert domain.is_legal(alone)
        assert Players.of(domain, alone).core(range(len(Players.of(domain, alone)))) == core
        assert core.is_in(domain, alone)
        assert core.rows(builds)[base.row]
        assert TokenCore(()).is_in(domain, base)


def test_too_few_contexts_and_unknown_tokens_are_said(builds: ExperimentContext) -> None:
    rare = plant_feature(builds.inputs, FEATURE, lambda build: float(build.row < 4))
    assert "at least 5" in str(run(rare).error_message)
    assert "comeback" in str(run(rare, stable_tokens=["combeack"]).error_message)
