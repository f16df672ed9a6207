"""Constraints against brute force: every context that any kind runs keeps them, and every refusal is logged twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mechscope.core.kinds import EXPERIMENTS
from mechscope.corpora import Column, Corpus, Ragged
from mechscope.corpora.domain import Context
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import (
    CAUSAL,
    ExperimentContext,
    ExperimentResult,
    ExperimentSpec,
    Findings,
    find_kind,
    get_runner_for_type,
)
from mechscope.experiments.changing.companions import Companions
from mechscope.experiments.changing.constraints import CONSTRAINTS, FEWEST_ROWS, Constraints, rungs_in_text
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

MAIN_ONLY_POINTS, BUDGET = 10, 57
NEEDED: dict[str, dict[str, Any]] = import_module("experiments.test_contract").NEEDED
INTERVENING = [name for name in EXPERIMENTS.names() if CAUSAL in find_kind(name).modes]


UNCHANGED = {"decoder_output"}
"""Kinds whose intervention is on the feature: the inputs stay rows as they are."""


class Watched:
    """Stands where `activations` is, and keeps every context that is run."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.seen = inner, list[Context]()

    def __call__(self, contexts: Sequence[Context], feature: int) -> np.ndarray:
        self.seen += contexts
        found: np.ndarray = self.inner(contexts, feature)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def watched(context: ExperimentContext, name: str, **changes: Any) -> tuple[ExperimentResult, list[Context]]:
    """The result of a kind with its contexts."""
    own = replace(context)
    watch = own.__dict__["activations"] = Watched(context.activations)
    feature = int(context.inputs.store.counts().argmax())
    spec = {"type": name, "feature_id": feature, "variables": NEEDED.get(name, {}), "mode": CAUSAL,
            "dataset_slice": {"sample_size": 15}, **changes}  # fmt: skip
    result = get_runner_for_type(name).run(ExperimentSpec.parse(spec), own)
    return result, watch.seen


def items_of(context: Context) -> set[tuple[str, int]]:
    return {("token", token) for token in context.tokens} | set(context.inputs.items())


def unfamiliar_pairs(subject: ExperimentContext, context: Context, rows: list[set[tuple[str, int]]]) -> int:
    """Pairs of items that the context's own row did not have and that fewer than 5 rows have, counted one by one.

    Markers such as <NULL> say that nothing is there: they make no pair.
    """
    original, vocabulary = rows[context.row], subject.corpus.vocabulary
    markers = {("token", token) for token in context.tokens if vocabulary[token].startswith("<")}
    items = sorted(items_of(context) - markers)
    new = [pair for pair in combinations(items, 2) if not set(pair) <= original]
    return sum(sum(set(pair) <= row for row in rows) < FEWEST_ROWS for pair in new)


@pytest.fixture(scope="module")
def rows(builds: ExperimentContext) -> list[set[tuple[str, int]]]:
    return [items_of(context) for context in builds.contexts_of(np.arange(builds.corpus.n_rows))]


@pytest.mark.parametrize("name", INTERVENING)
def test_whatever_a_kind_runs_keeps_every_constraint(
    name: str, builds: ExperimentContext, rows: list[set[tuple[str, int]]]
) -> None:
    result, seen = watched(builds, name, constraints=list(CONSTRAINTS))
    assert result.success or seen, result.error_message
    assert bool(seen) != (name in UNCHANGED), "a kind that changes inputs runs them through `activations`"
    vocabulary = builds.corpus.vocabulary
    for context in {context.key: context for context in seen}.values():
        rungs: dict[str, set[int]] = {}
        for token in context.tokens:
            stem, _, end = vocabulary[token].rpartition("_")
            if end.isdecimal():
                rungs.setdefault(stem, set()).add(int(end))
        for family, held in rungs.items():  # a rung with its lower ones, nothing else
            assert held == {rung for rung in builds.domain.families[family].rungs if rung <= max(held)}
        n_main_only = sum(token in builds.domain.binaries.values() for token in context.tokens)
        assert sum(map(max, rungs.values())) + MAIN_ONLY_POINTS * n_main_only <= BUDGET
        assert builds.domain.is_legal(context)
    sample = list({context.key: context for context in seen if context.row >= 0}.values())[:60]
    assert not any(unfamiliar_pairs(builds, context, rows) for context in sample)
    for violation in result.diagnostics.constraint_violations:
        assert violation.constraint in CONSTRAINTS
        assert any(violation.message in warning for warning in result.diagnostics.warnings)


def test_a_sweep_meets_combinations_that_no_row_has_unless_it_is_told_not_to(
    builds: ExperimentContext, rows: list[set[tuple[str, int]]]
) -> None:
    variables = {"family": "special_charge_up", "rungs": [3, 38, 57], "observed_beside": False}
    free, seen = watched(builds, "family_1d_sweep", variables=variables)
    assert free.success
    assert sum(unfamiliar_pairs(builds, context, rows) > 0 for context in seen) > 5
    assert not free.diagnostics.constraint_violations
    bound, seen = watched(
        builds, "family_1d_sweep", variables=variables, constraints=["avoid_ood_token_combinations", "max_ap_budget"]
    )
    assert {v.constraint for v in bound.diagnostics.constraint_violations} == {
        "avoid_ood_token_combinations", "max_ap_budget"}  # fmt: skip
    assert not any(unfamiliar_pairs(builds, context, rows) for context in seen)


def test_what_is_held_is_judged_too(builds: ExperimentContext, rows: list[set[tuple[str, int]]]) -> None:
    rarest = min(builds.domain.binaries, key=lambda name: builds.rows_with(builds.domain.binaries[name]).sum())
    variables = {"family": "SCU", "rungs": [3], "stable_tokens": [rarest], "observed_beside": False}
    _, free = watched(builds, "family_1d_sweep", variables=variables)
    assert any(unfamiliar_pairs(builds, context, rows) for context in free)
    _, seen = watched(
        builds, "family_1d_sweep", variables=variables, constraints=["avoid_ood_token_combinations"]
    )  # fmt: skip
    assert not any(unfamiliar_pairs(builds, context, rows) for context in seen)


def test_the_packed_table_counts_as_rows_do(builds: ExperimentContext, rows: list[set[tuple[str, int]]]) -> None:
    table, generator = Companions(builds.corpus), np.random.default_rng(3)
    named = [{_name(builds.corpus, item) for item in row} for row in rows]
    for _ in range(100):
        first, second = (builds.contexts_of(generator.integers(0, len(rows), 1))[0] for _ in range(2))
        changed = replace(first, tokens=tuple(sorted({*first.tokens[:5], *second.tokens[:5]})), inputs=second.inputs)
        pairs = set(map(frozenset, table.new_pairs(first, changed)))
        assert len(pairs) == sum(
            not set(pair) <= items_of(first) for pair in combinations(sorted(items_of(changed)), 2)
        )
        for pair in list(pairs)[:3]:
            names = {table.name(item) for item in pair}
            assert table.count(*pair) == sum(names <= row for row in named)
    assert table.count(10**6, 0) == 0


def _name(corpus: Corpus, item: tuple[str, int]) -> str:
    return corpus.vocabulary[item[1]] if item[0] == "token" else f"{item[0]} {item[1]}"


def test_in_texts_neighbours_are_what_stands_together(sentences: ExperimentContext) -> None:
    table, corpus = Companions(sentences.corpus), sentences.corpus
    rows = [corpus.tokens[row].tolist() for row in range(corpus.n_rows)]
    followed: dict[tuple[int, int], set[int]] = {}
    for at, row in enumerate(rows):
        for pair in pairwise(row):
            followed.setdefault(pair, set()).add(at)
    for pair, held in followed.items():
        assert table.count(*pair) == len(held)
    assert table.count(len(corpus.vocabulary) - 1, 0) == len(followed.get((len(corpus.vocabulary) - 1, 0), ()))
    one = Context(tuple(rows[0]))
    changed = Context((*rows[0][:3], rows[0][1], *rows[0][4:]))
    assert set(table.new_pairs(one, changed)) == set(pairwise(changed.tokens)) - set(pairwise(one.tokens))


def test_two_rungs_anywhere_in_a_text_are_seen() -> None:
    written = ((1,), (2, 3), (2,), (9,))
    assert rungs_in_text((5, 1, 6, 1), written) == [0]
    assert rungs_in_text((2, 3, 1), written) == [0, 1]
    assert rungs_in_text((2, 4, 2, 3), written) == [1, 2]
    assert rungs_in_text((5, 3), written) == []


TEXTS = ["a cat and one dog .", "two cats and one dog .", "three dogs and a cat .", "no dogs at all ."]


@pytest.fixture
def counting(tmp_path: Path) -> Any:
    """A corpus of number words and its declared domain."""
    texts = [text.split() for text in TEXTS] * 10
    vocabulary = tuple(sorted({word for text in texts for word in text}))
    ids = Ragged.from_rows([[vocabulary.index(word) for word in text] for text in texts])
    corpus = Corpus(name="counting", kind="text", tokens=ids, vocabulary=vocabulary, row_columns={}, columns={})
    file = tmp_path / "numbers.yaml"
    file.write_text("families: {number: {rungs: [one, two, three]}}\n")
    return corpus, domain_for(corpus, declared=file)


def test_texts_with_two_rungs_of_a_family_are_left_out_when_asked(counting: Any, builds: ExperimentContext) -> None:
    corpus, domain = counting
    inputs = replace(builds.inputs, corpus=corpus)
    subject = ExperimentContext("counting", inputs, domain)
    findings = Findings()
    kept = Constraints(("one_rung_per_family", "avoid_ood_token_combinations"), subject, findings).keeps(np.arange(40))
    assert kept.tolist() == [True, False, True, True] * 10
    diagnostics = findings.diagnostics(n_forwards=0)
    assert [(v.constraint, v.n) for v in diagnostics.constraint_violations] == [("one_rung_per_family", 10)]
    assert "number shows the rungs one and two" in diagnostics.warnings[-1]
    assert sum(diagnostics.dropped.values()) == 10
    assert any("avoid_ood_token_combinations: rows are as they were met" in note for note in diagnostics.notes)
    assert Constraints((), subject, Findings()).keeps(np.arange(40)).all()


def test_rows_that_break_a_rule_are_left_out_of_observations_and_counted(builds: ExperimentContext) -> None:
    corpus = builds.corpus
    illegal = [[int(token) for token in corpus.tokens[row]][1:] for row in range(corpus.n_rows)]
    broken = Ragged.from_rows([
        tokens if row < 200 and tokens else corpus.tokens[row].tolist() for row, tokens in enumerate(illegal)
    ])  # fmt: skip
    inputs: FeatureInputs = replace(builds.inputs, corpus=replace(corpus, tokens=broken, targets=None))
    subject = plant_feature(inputs, 3, lambda context: 1.0 + len(context.tokens) % 3)
    wrong = sum(bool(subject.domain.faults(one)) for one in subject.contexts_of(np.arange(corpus.n_rows)))
    assert 50 < wrong <= 200
    spec: dict[str, Any] = {"type": "family_1d_sweep", "feature_id": 3, "mode": "observational",
                            "variables": {"family": "SCU", "rungs": [3, 6, 12]}}  # fmt: skip
    runner = get_runner_for_type("family_1d_sweep")
    every = runner.run(ExperimentSpec.parse(spec), subject)
    lawful = runner.run(ExperimentSpec.parse(spec | {"constraints": ["one_rung_per_family"]}), subject)
    assert every.diagnostics.rows["in the store"] == corpus.n_rows
    assert "after constraints" not in every.diagnostics.rows
    assert lawful.diagnostics.rows["after constraints"] == corpus.n_rows - wrong
    violations = lawful.diagnostics.constraint_violations
    assert sum(violation.n for violation in violations) == wrong
    assert all(any(v.message in warning for warning in lawful.diagnostics.warnings) for v in violations)


def test_no_claim_of_a_group_at_the_floor(builds: ExperimentContext) -> None:
    """With the weapon four contexts in five are at zero, whatever the family does."""
    others = [name for name in builds.domain.families if name != "special_charge_up"]
    weapon = builds.domain.groups["weapon"][7]

    def activation(context: Context) -> float:
        opened = (
            builds.domain.group(context, "weapon") != weapon
            or sum(builds.domain.rung(context, name) for name in others) % 5 == 0
        )
        return opened * (1.0 + 2.0 * (builds.domain.rung(context, "special_charge_up") >= 3))

    subject = plant_feature(builds.inputs, 3, activation)
    variables = {"family": "SCU", "rungs": [3, 6], "stable_weapon": weapon, "observed_beside": False}
    spec = {"type": "family_1d_sweep", "feature_id": 3, "mode": CAUSAL, "variables": variables,
            "dataset_slice": {"sample_size": 200}}  # fmt: skip
    runner = get_runner_for_type("family_1d_sweep")
    free = runner.run(ExperimentSpec.parse(spec), subject)
    assert free.diagnostics.relu_floor_rate is not None
    bound = runner.run(ExperimentSpec.parse(spec | {"constraints": ["no_weapon_gating_if_relu_floor"]}), subject)
    assert bound.diagnostics.relu_floor_detected
    assert free.claims
    assert not bound.claims
    assert [v.constraint for v in bound.diagnostics.constraint_violations] == ["no_weapon_gating_if_relu_floor"]


def test_columns_of_inputs_make_items_of_their_own() -> None:
    corpus = Corpus(
        name="two inputs", kind="set", tokens=Ragged.from_rows([[0], [1], [0, 1]]), vocabulary=("a", "b"),
        row_columns={"x": np.array([0, 1, 5]), "y": np.array([5, 5, 0])},
        columns={name: Column(level="row", role="input") for name in ("x", "y")},
    )  # fmt: skip
    table = Companions(corpus)
    changed = Context((0, 1), {"x": 1, "y": 5})
    pairs = {frozenset(map(table.name, pair)): table.count(*pair) for pair in table.new_pairs(Context((0,)), changed)}
    assert pairs[frozenset({"b", "x 1"})] == 1
    assert pairs[frozenset({"a", "x 1"})] == 0
    assert pairs[frozenset({"x 1", "y 5"})] == 1
    assert pairs[frozenset({"a", "y 5"})] == 1
    assert len(pairs) == 6


def test_markers_are_strange_beside_nothing(builds: ExperimentContext) -> None:
    """An empty build on a weapon that no empty build of the corpus has: the marker of emptiness is no token."""
    findings = Findings()
    guard = Constraints(("avoid_ood_token_combinations",), builds, findings)
    null = builds.corpus.vocabulary.index("<NULL>")
    table = Companions(builds.corpus)
    for row in range(40):
        base = builds.contexts_of([row])[0]
        empty = Context((null,), base.inputs, base.row)
        assert any(table.count(*pair) < FEWEST_ROWS for pair in table.new_pairs(base, empty)) or null in base.tokens
        assert guard.allows(base, empty)
    assert not findings.violations
