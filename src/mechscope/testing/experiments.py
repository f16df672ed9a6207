"""The contract of an experiment kind: what every one must do, checked on a small open subject."""

from __future__ import annotations

from typing import Any

from mechscope.core import Spec, UsageError
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments import (
    OBSERVED,
    ExperimentContext,
    ExperimentResult,
    ExperimentSpec,
    find_kind,
    get_runner_for_type,
)
from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.types import type_name
from mechscope.experiments.words import in_words_of

__all__ = ["check_experiment_kind"]

UNKNOWN = "a_variable_that_no_kind_has"
CAUSAL_WORDS = ("causes", "raises", "lowers", "drives")


def check_experiment_kind(
    name: str, context: ExperimentContext, feature: int, variables: dict[str, Any], *, n_bases: int = 40
) -> dict[str, ExperimentResult]:
    """Assert the contract for kind `name` on a feature that is active in some rows. Returns a result for each mode.

    Checked: it says what it is; aliases lead to it; an unknown variable is refused; every mode runs; an empty slice
    and a missing feature are results without success; results survive JSON, say their evidence, and the same spec
    gives the same result; observational ones name other explanations; no p is 0, and no cell of fewer than 5 samples
    or clusters has one; outputs are switched off when asked, warnings never; the corpus stays as it was.

    Args:
        variables: that the kind cannot do without.
        n_bases: base contexts of interventional modes; observational ones take all rows.
    """
    kind = find_kind(name)
    assert kind.name == name
    assert kind.title
    assert issubclass(kind.variables, Spec)
    assert kind.modes, f"{name} has no mode"
    assert len(set(kind.modes)) == len(kind.modes)
    for alias in kind.aliases:
        assert type_name(alias) not in EXPERIMENTS.names(), f"{name} has the alias {alias}, which is a kind"
        assert find_kind(alias).name == name
    runner = get_runner_for_type(name)
    base: dict[str, Any] = {"type": name, "feature_id": feature, "variables": variables}
    _refuses(runner.check, base | {"variables": {**variables, UNKNOWN: 1}})
    digest, found = context.corpus.digest, {}
    for mode in kind.modes:
        sliced = {} if mode == OBSERVED else {"sample_size": n_bases}
        spec = ExperimentSpec.parse(base | {"mode": mode, "dataset_slice": sliced})
        result = runner.run(spec, context)
        assert result.success, f"{name} {mode}: {result.error_message}"
        _check_result(result, spec, in_words_of(context.domain, kind.alternatives))
        assert _timeless(runner.run(spec, context)) == _timeless(result), f"{name} {mode} differs between two runs"
        _check_outputs(runner.run(_quiet(spec), context), result)
        drawn = runner.run(spec.updated(outputs={"figures": True}), context)
        assert set(drawn.figures) == set(runner.kind.draw(drawn))
        found[mode] = result
    _check_failures(base, context)
    assert context.corpus.digest == digest, f"{name} changes the corpus"
    return {str(mode): result for mode, result in found.items()}


def _refuses(check: Any, value: dict[str, Any]) -> None:
    seen = ""
    try:
        check(ExperimentSpec.parse(value))
    except UsageError as error:
        seen = error.seen
    assert UNKNOWN in seen, "an unknown variable was taken"


def _check_result(result: ExperimentResult, spec: ExperimentSpec, alternatives: tuple[str, ...]) -> None:
    assert ExperimentResult.parse(result.to_json()) == result
    assert result.spec_id == spec.id
    assert result.mode == result.evidence == spec.mode
    assert result.provenance["spec_digest"]
    assert result.tables, "a result without a table"
    assert f"feature {spec.feature_id}" in result.get_summary()
    for table in result.tables.values():
        assert table.name in result.to_markdown()
        _check_cells([dict(row) for row in table.rows])
    if spec.mode == OBSERVED:
        assert any("CORRELATIONAL" in warning for warning in result.diagnostics.warnings)
        assert result.alternatives == alternatives
        assert alternatives, "observational evidence names what else would give the same numbers"
        assert not any(word in claim.split() for claim in result.claims for word in CAUSAL_WORDS)
    else:
        assert result.diagnostics.n_contexts_tested > 0
        assert not result.alternatives


def _check_cells(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for name in ("p", "p_corrected"):
            p = row.get(name)
            assert p is None or 0 < p <= 1, f"{name} is {p}"
            for count in ("n", "n_clusters"):
                assert p is None or (row.get(count) or FEW) >= FEW, f"a {name} from {count} = {row[count]}"
        low, high = row.get("low"), row.get("high")
        assert low is None or high is None or low <= high


def _quiet(spec: ExperimentSpec) -> ExperimentSpec:
    return spec.updated(outputs={"aggregates": False, "tables": False, "diagnostics": False, "figures": False})


def _check_outputs(quiet: ExperimentResult, full: ExperimentResult) -> None:
    assert not quiet.tables
    assert not quiet.figures
    assert quiet.aggregates.mean_delta is None
    assert not quiet.aggregates.custom
    assert not quiet.diagnostics.rows
    assert quiet.diagnostics.warnings == full.diagnostics.warnings
    assert quiet.diagnostics.constraint_violations == full.diagnostics.constraint_violations


def _check_failures(base: dict[str, Any], context: ExperimentContext) -> None:
    runner = get_runner_for_type(base["type"])
    absent = runner.run(ExperimentSpec.parse(base | {"feature_id": context.inputs.store.n_features}), context)
    assert not absent.success
    assert "is not in" in str(absent.error_message)
    emptied = ExperimentSpec.parse(base | {"dataset_slice": {"activation_threshold": 1e9}})
    empty = runner.run(emptied, context)
    assert not empty.success
    assert "activation_threshold" in str(empty.error_message)
    assert not empty.claims


def _timeless(result: ExperimentResult) -> dict[str, Any]:
    """The result without how long it took and how many forwards were not remembered."""
    told = result.to_json()
    del told["duration_seconds"]
    told["diagnostics"].pop("n_forwards")
    return told
