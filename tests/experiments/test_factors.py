"""Factors are read by name, set and unset in contexts, and found in rows; designs leave out doubles and the illegal."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from mechscope.core import NotFoundError, UsageError
from mechscope.corpora.domain import Context
from mechscope.experiments import ExperimentContext, ExperimentSpec
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.changing.changes import Change, Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.factorial import measure_corners
from mechscope.experiments.interactions.factors import every_factor, parse_factors, require_apart

NAMES = ["comeback", "SCU 12", "weapon=splattershot", "quick_respawn_6"]


def test_a_factor_in_rows_is_what_setting_it_makes(builds: ExperimentContext) -> None:
    domain = builds.domain
    armed = np.flatnonzero(builds.group_values("weapon") == "Splattershot")
    assert len(armed) > 2
    rows = np.concatenate([np.arange(120), armed])
    contexts = builds.contexts_of(rows)
    factors = parse_factors(builds, NAMES, Held())
    assert [factor.name for factor in factors] == ["comeback", "SCU 12", "weapon=Splattershot", "quick_respawn_6"]
    for factor in factors:
        level = factor.of_rows(builds)[rows]
        assert set(level.tolist()) <= {-1, 0, 1}
        for context, here in zip(contexts, level.tolist(), strict=True):
            if factor.group:
                assert (
                    (domain.group(context, "weapon") == "Splattershot")
                    == (here == 1)
                    == bool(factor.refusal(builds, context))
                )
                continue
            off = factor.off.apply(domain, context)
            if here == 0:
                assert off == context
            if here == 1 and not factor.on.rungs:
                assert factor.on.apply(domain, context) == context


def test_names_are_refused_with_the_nearest(builds: ExperimentContext) -> None:
    for wrong, near in (("stealth_jmp", "stealth_jump"), ("weapon=Splatershot", "Splattershot")):
        with pytest.raises(NotFoundError, match=near):
            parse_factors(builds, [wrong], Held())
    assert parse_factors(builds, ["Splattershot"], Held())[0].group == "Splattershot"
    with pytest.raises(UsageError, match="both set"):
        require_apart(parse_factors(builds, ["QR 3", "QR 12"], Held()))
    held = parse_held(builds.domain, builds.corpus.vocabulary, tokens=["comeback", "SCU 3"])
    names = {factor.topic for factor in every_factor(builds, held)}
    assert not names & {"comeback", "special_charge_up"}
    assert {"haunt", "quick_respawn"} <= names


def test_families_that_are_never_absent_vary_against_their_lowest_rung(sentences: ExperimentContext) -> None:
    factors = [factor for factor in every_factor(sentences, Held()) if factor.topic == "tense"]
    assert factors
    assert {factor.lowest for factor in factors} == {1}
    with pytest.raises(UsageError, match="lowest"):
        parse_factors(sentences, ["tense_1"], Held())


def test_corners_are_each_context_with_both_set_and_unset(builds: ExperimentContext) -> None:
    feature = int(builds.inputs.store.counts().argmax())
    spec = ExperimentSpec.parse({"type": "interactions", "feature_id": feature, "dataset_slice": {"sample_size": 30}})
    bases = draw_bases(spec, builds, Findings())
    pair = tuple(parse_factors(builds, ["comeback", "special_charge_up_6"], Held()))
    change = pair[0].on.joined(pair[1].on)
    doubled = next(base for base in bases.contexts if _can(builds, change, base))
    bases = replace(bases, contexts=[*bases.contexts[:-1], doubled])
    findings = Findings()
    corners = measure_corners(builds, feature, bases, [pair], Constraints((), builds, findings))
    n_legal = 0
    for at, base in enumerate(bases.contexts[:-1]):
        try:
            made = [
                builds.domain.substitute(base, binaries={"comeback": first}, rungs={"special_charge_up": 6 * second})
                for second, first in product((False, True), repeat=2)
            ]
        except UsageError:
            assert np.isnan(corners.activation[at]).all()
            continue
        n_legal += 1
        np.testing.assert_array_equal(corners.activation[at, 0], builds.activations(made, feature))
        np.testing.assert_array_equal(corners.before[at, 0], builds.activations.before_floor(made, feature))
    assert 5 < n_legal < 29
    assert np.isnan(corners.activation[-1]).all()
    assert corners.n_refused[0] == 29 - n_legal
    assert findings.dropped["base context that differs from another in the factors alone"] == 1
    f = corners.activation[:, 0]
    np.testing.assert_allclose(corners.differences("activation")[:, 0], f[:, 3] - f[:, 1] - f[:, 2] + f[:, 0])
    log = corners.differences("log")[:, 0]
    assert np.isnan(log[(f <= 0).any(axis=1)]).all()


def _can(context: ExperimentContext, change: Change, base: Context) -> bool:
    try:
        change.apply(context.domain, base)
    except UsageError:
        return False
    return True
