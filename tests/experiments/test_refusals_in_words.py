"""What an experiment says of lists that name things twice, of names that are near another, and of its own failure."""

from __future__ import annotations

from typing import Any

import pytest

from mechscope.core import NotFoundError
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.kinds import core_coverage
from mechscope.experiments.observing.confounders import find_family
from mechscope.experiments.observing.levels_of_activity import as_quantile
from mechscope.testing.planted_features import plant_feature


def run(context: ExperimentContext, type: str, **changes: Any) -> ExperimentResult:  # noqa: A002
    spec = ExperimentSpec.parse({"type": type, "feature_id": 3, **changes})
    return get_runner_for_type(type).run(spec, context)


@pytest.fixture(scope="module")
def planted(builds: ExperimentContext) -> ExperimentContext:
    return plant_feature(
        builds.inputs, 3, lambda context: 0.1 + builds.domain.rung(context, "special_charge_up") / 57.0
    )


def test_what_a_list_names_twice_is_taken_once_with_a_warning(planted: ExperimentContext) -> None:
    wanted = {"mode": "observational", "dataset_slice": {"sample_size": 300}}
    once, twice = (
        run(planted, "binary_presence", variables={"tokens": ["comeback", *more]}, **wanted)
        for more in ((), ("comeback",))
    )
    assert once.success, once.error_message
    assert once.tables == twice.tables
    assert "tokens has comeback more than once: taken once" in twice.diagnostics.warnings
    assert not any("more than once" in text for text in once.diagnostics.warnings)
    swept = run(planted, "family_1d_sweep", variables={"family": "SCU", "rungs": [3, 3, 12]}, **wanted)
    assert "rungs has 3 more than once: taken once" in swept.diagnostics.warnings


def test_a_family_that_is_none_offers_the_nearest_by_both_names(planted: ExperimentContext) -> None:
    with pytest.raises(NotFoundError, match=r"did you mean 'special_charge_up' \(SCU\)\?"):
        find_family(planted.domain, "scuu")
    with pytest.raises(NotFoundError, match=r"comeback is a binary.*\n.*\n.*`mechscope experiment binary`.*heatmap"):
        find_family(planted.domain, "comeback")
    with pytest.raises(NotFoundError, match="expected: one of: ink_recovery_up"):
        find_family(planted.domain, "0000")


def test_a_percentile_that_could_be_either_end_is_refused() -> None:
    assert [as_quantile(value, "x") for value in (0.05, 0.9, 50, 95)] == [0.05, 0.9, 0.5, 0.95]
    for wrong in (0, 1, 5, 49.9, 100, -0.1):
        with pytest.raises(ValueError, match="a share above 0 and below 1"):
            as_quantile(wrong, "x")


def test_a_failure_says_why_first_and_tells_nothing_that_was_not_measured(planted: ExperimentContext) -> None:
    for mode in ("interventional", "observational"):
        few = run(planted, "family_1d_sweep", variables={"family": "SCU"}, mode=mode, dataset_slice={"sample_size": 2})
        lines = few.get_summary().splitlines()
        assert not few.success
        assert lines[0].startswith("FAILED: ")
        assert not few.alternatives
        if not few.tables:
            told = [line.split(":")[0] for line in lines if ": " in line]
            assert not {"family", "reference_rung", "min_effect", "held", "warning"} & set(told), lines
    n_features = planted.inputs.store.n_features
    modes: tuple[str | None, ...] = (None, "observational")
    for asked in modes:
        spec = {"type": "core_coverage", "feature_id": n_features, "mode": asked, "outputs": {"figures": True}}
        none = get_runner_for_type("core_coverage").run(ExperimentSpec.parse(spec), planted)
        assert not none.success
        assert not none.alternatives
        assert not none.tables
        assert not none.aggregates.custom
        assert not none.diagnostics.warnings
        assert len([line for line in none.get_summary().splitlines() if not line.startswith("expected")]) == 4


def test_what_was_measured_before_a_failure_stays(planted: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise FloatingPointError("made up")

    monkeypatch.setattr(core_coverage, "_conclude", fails)
    found = run(planted, "core_coverage", variables={"tokens": ["comeback"]})
    assert not found.success
    assert found.tables["token_coverage"].rows
    assert found.get_summary().startswith("FAILED: FloatingPointError: made up")
    assert any("CORRELATIONAL" in text for text in found.diagnostics.warnings)
