"""Binaries against planted rows, and against toggling by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from planted_rows import FEATURE, PlantedContext, custom_of, opened_subject, planted, rows_of, run

from mechscope.core import UserError
from mechscope.experiments import ExperimentContext, ExperimentSpec, find_kind, get_runner_for_type
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.findings import Findings
from mechscope.experiments.specs import DatasetSlice
from mechscope.experiments.types import Mode
from mechscope.testing.planted_builds import run_kind
from mechscope.testing.planted_features import plant_feature


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedContext]:
    with opened_subject(tmp_path_factory.mktemp("subject")) as context:
        yield context


def test_a_planted_binary_is_found_among_the_others(subject: PlantedContext) -> None:
    has = subject.rows_with(subject.domain.binaries["comeback"])
    context = planted(subject, lambda weapons: np.where(has, 1.0, 0.2))
    found = run(context, "binary", "observational", tokens=["comeback", "stealth_jump", "ninja_squid"])
    assert found.success, found.error_message
    assert found.evidence == "observational"
    assert len(found.alternatives) == 3
    rows = {row["binary"]: row for row in rows_of(found, "binary_presence")}
    assert len(rows) == 3
    assert context.planted is not None
    crude = context.planted[has].mean() - context.planted[~has].mean()
    assert rows["comeback"]["crude"] == pytest.approx(crude)
    assert rows["comeback"]["p_corrected"] < 0.01
    # four fifths of the planted 0.8, the other fifth of the rows being zero
    assert rows["comeback"]["low"] < 0.64 < rows["comeback"]["high"]
    assert all(abs(rows[name]["mean_delta"]) < 0.1 for name in ("stealth_jump", "ninja_squid"))
    assert custom_of(found)["top_binary"] == "comeback"


def test_toggling_is_that_of_each_legal_base_context(subject: PlantedContext) -> None:
    found = run(subject, "binary_presence", "interventional")
    assert found.success, found.error_message
    rows = {row["binary"]: row for row in rows_of(found, "binary_presence")}
    assert set(rows) == set(subject.domain.binaries)
    spec = ExperimentSpec(
        type="binary_presence", feature_id=FEATURE, mode="interventional", dataset_slice=DatasetSlice(sample_size=20)
    )
    bases = draw_bases(spec, subject, Findings())
    n_legal = 0
    for name, row in rows.items():
        deltas = []
        for base in bases.contexts:
            try:
                pair = [subject.domain.substitute(base, binaries={name: on}) for on in (True, False)]
            except UserError:
                continue
            there, absent = subject.activations(pair, FEATURE)
            deltas.append(there - absent)
        assert row["n"] == len(deltas)
        n_legal += len(deltas)
        if deltas:
            assert row["mean_delta"] == pytest.approx(np.mean(deltas), abs=1e-9)
    assert n_legal > 20


def test_an_unknown_binary_offers_the_nearest(subject: PlantedContext) -> None:
    found = run(subject, "binary_presence", tokens=["combeack"])
    assert not found.success
    assert "comeback" in str(found.error_message)


def test_a_nuisance_is_told_from_a_driver_and_the_result_says_so(subject: PlantedContext) -> None:
    """Comeback goes with the stored activation, and setting it in the model does next to nothing of that size."""
    has = subject.rows_with(subject.domain.binaries["comeback"])
    context = planted(subject, lambda weapons: np.where(has, 60.0, 10.0))
    found = run(context, "binary_presence", "interventional", tokens=["comeback"], min_effect=0.3)
    assert found.success, found.error_message
    (beside,) = rows_of(found, "observed_binaries")
    assert beside["low"] > 30
    (row,) = rows_of(found, "binary_presence")
    assert abs(row["corpus_delta"]) < 5
    assert not found.claims
    figure = find_kind("binary_presence").draw(found)["binaries"]
    assert [trace["name"] for trace in figure.traces] == ["intervention", "observed, adjusted"]


def test_a_planted_inert_companion_is_a_finding(builds: ExperimentContext) -> None:
    """The feature follows the weapon class; a binary that its players take is inert, and no confounder is named."""
    domain, rows = builds.domain, builds.contexts_of(np.arange(builds.corpus.n_rows))
    classes = np.array([domain.group(one, "class") for one in rows])
    has = builds.rows_with(domain.binaries["object_shredder"])
    lifts = {name: has[classes == name].mean() for name in np.unique(classes)}
    top = max(lifts, key=lambda name: lifts[name] * (classes == name).sum() ** 0.5)
    context = plant_feature(builds.inputs, FEATURE, lambda one: 1.0 + 4.0 * (domain.group(one, "class") == top))
    spec = ExperimentSpec(
        type="binary", feature_id=FEATURE, variables={"tokens": ["object_shredder"], "confounders": []}
    )
    found = get_runner_for_type("binary").run(spec, context)
    assert found.success, found.error_message
    (row,) = rows_of(found, "binary_presence")
    assert row["mean_delta"] == 0
    (beside,) = rows_of(found, "observed_binaries")
    assert beside["low"] > 0
    assert not found.claims
    (said,) = found.findings
    assert said.startswith("object_shredder: rows differ though the intervention changes nothing")


def test_claims_carry_interval_n_p_and_the_corpus(builds: ExperimentContext) -> None:
    domain = builds.domain
    context = plant_feature(builds.inputs, FEATURE, lambda one: 1.0 + 2.0 * domain.has(one, "comeback"))
    for is_caused in (True, False):
        mode: Mode = "interventional" if is_caused else "observational"
        found = run_kind(context, "binary_presence", FEATURE, mode=mode, n_bases=100 if is_caused else None,
                         observed_beside=False, tokens=["comeback"])  # fmt: skip
        (row,) = rows_of(found, "binary_presence")
        (claim,) = found.claims
        of = "base contexts drawn evenly over its activity" if is_caused else "rows with it"
        assert f"in {row['n']:,} {of} (p {row['p_corrected']:.2g} corrected)" in claim
        assert ("] weighted to the corpus" in claim) == is_caused
