"""Many substitutions as a table against each by itself: the same contexts, refusals and activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.corpora.domains.splatoon.domain import SplatoonDomain
from mechscope.corpora.domains.splatoon.vocabulary import VOCABULARY
from mechscope.experiments import ExperimentContext, ExperimentSpec
from mechscope.experiments.changing.base_contexts import Bases, draw_bases
from mechscope.experiments.changing.changes import Change
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.responses import Responses, measure
from mechscope.experiments.findings import Findings


def changes(domain: SplatoonDomain) -> list[Change]:
    names = domain.groups["weapon"]
    found = [Change("as it is")]
    for family in domain.families.values():
        found += [Change(f"{family.name} {rung}", rungs={family.name: rung}) for rung in (0, *family.rungs[::4])]
        for tokens in family.tokens[::3]:
            found += [Change(f"{tokens[-1]} on", tokens_on=tokens[-1:]), Change("off", tokens_off=tokens[-1:])]
    for name, token in domain.binaries.items():
        found += [Change(name, binaries={name: True}), Change(f"no {name}", binaries={name: False})]
        found += [Change("on", tokens_on=(token,)), Change("off", tokens_off=(token,))]
    both = Change("both", rungs={"quick_respawn": 6, "ink_saver_main": 0}, groups={"weapon": names[9]})
    return [*found, Change("weapon", groups={"weapon": names[3]}), both]


def measured(context: ExperimentContext, bases: Bases, given: list[Change]) -> tuple[Responses, Findings]:
    findings = Findings()
    constraints = Constraints(("max_ap_budget", "valid_gear_combinations"), context, findings)
    found = measure(context, 5, bases, given, constraints, should_look_below=True)
    return found, findings


def test_a_table_of_substitutions_equals_each_by_itself(
    builds: ExperimentContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(np.random.default_rng(20).integers(1 << 30))
    spec = ExperimentSpec(type="family_1d_sweep", feature_id=5, variables={"family": "quick_respawn"}, seed=seed)
    bases = draw_bases(spec, builds, Findings(), n_bases=30)
    domain = builds.domain
    assert isinstance(domain, SplatoonDomain)
    given = changes(domain)
    table, said = measured(builds, bases, given)
    monkeypatch.setattr(SplatoonDomain, "substitute_table", lambda *_: None)
    single, told = measured(builds, bases, given)
    np.testing.assert_array_equal(np.isnan(table.values), np.isnan(single.values))
    np.testing.assert_allclose(table.values, single.values, rtol=1e-5, atol=1e-6)
    assert table.before_floor is not None
    assert single.before_floor is not None
    np.testing.assert_allclose(table.before_floor, single.before_floor, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(table.n_refused, single.n_refused)
    assert table.n_refused.sum() > 100
    assert (table.n_refused < len(bases)).any()
    assert sum(said.dropped.values()) == sum(told.dropped.values()) == table.n_refused.sum()
    assert sum(said.violations.values()) == sum(told.violations.values())


@pytest.mark.parametrize("encoding", ["cumulative", "family"])
def test_tokens_of_a_table_are_those_of_the_domain(encoding: str) -> None:
    generator = np.random.default_rng(int(np.random.default_rng(21).integers(1 << 30)))
    domain = SplatoonDomain(VOCABULARY, {}, encoding="family" if encoding == "family" else "cumulative")
    texts = ["QR 12, SCU 3, comeback", "ISM 6", "SSU 29, ISS 3, stealth_jump, haunt", "nothing", "QR 57"]
    contexts = [domain.parse(text) for text in texts]
    assert all(domain.is_legal(context) for context in contexts)
    given = [change for change in changes(SplatoonDomain()) if not change.groups]
    generator.shuffle(given)
    found = domain.substitute_table(contexts, [change.arguments for change in given])
    assert found is not None
    assert not found.inputs
    at = 0
    for column, change in enumerate(given):
        for row, context in enumerate(contexts):
            try:
                expected = change.apply(domain, context)
            except UsageError:
                continue
            assert (found.change[at], found.context[at]) == (column, row)
            assert tuple(found.tokens[found.row[at]].tolist()) == expected.tokens, (change, texts[row])
            at += 1
    assert at == len(found.row) > len(found.tokens)  # changes that leave a build as it is share its row
    assert set(found.row.tolist()) == set(range(len(found.tokens)))
    assert sum(found.refused.values()) == len(given) * len(contexts) - at


def test_what_a_table_cannot_tell_is_left_to_single_substitutions(builds: ExperimentContext) -> None:
    domain = builds.domain
    assert isinstance(domain, SplatoonDomain)
    base = builds.contexts_of([0])
    assert domain.substitute_table(base, [{"tokens_on": (1, 2)}]) is None
    assert domain.substitute_table([replace(base[0], inputs={})], [{}]) is None
    assert domain.substitute_table([], [{}]) is None
