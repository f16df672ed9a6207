"""Results: the founding document's example unchanged, strings in `custom`, Markdown that stays a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.experiments import ExperimentResult, Findings, read_result
from mechscope.experiments.findings import plain

EXAMPLE: dict[str, Any] = {
    "spec_id": "20250607_142531",
    "spec_path": "20250607_142531__f18712__family-1d-sweep.json",
    "feature_id": 18712,
    "experiment_type": "family_1d_sweep",
    "aggregates": {
        "mean_delta": 0.35,
        "std_delta": 0.12,
        "n_samples": 500,
        "custom": {"threshold_rung": 41, "max_rung_delta": 0.52},
    },
    "tables": {
        "rung_deltas": {
            "name": "rung_deltas",
            "columns": ["rung", "mean_delta", "std_error", "n"],
            "rows": [
                {"rung": 3, "mean_delta": 0.05, "std_error": 0.02, "n": 100},
                {"rung": 12, "mean_delta": 0.12, "std_error": 0.03, "n": 100},
            ],
        }
    },
    "diagnostics": {
        "relu_floor_detected": False,
        "relu_floor_rate": 0.02,
        "n_contexts_tested": 500,
        "warnings": [],
    },
    "success": True,
    "duration_seconds": 45.3,
}


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part) and type(whole) is type(part)


def test_the_example_parses_unchanged(tmp_path: Path) -> None:
    result = ExperimentResult.parse(EXAMPLE)
    assert contains(result.to_json(), EXAMPLE)
    path = result.write(tmp_path / "results")
    assert path.name == EXAMPLE["spec_path"]
    assert read_result(path) == result
    assert contains(json.loads(path.read_text()), EXAMPLE)


def test_a_summary_says_the_numbers() -> None:
    summary = ExperimentResult.parse(EXAMPLE).get_summary()
    for part in ("family_1d_sweep", "feature 18712", "0.35", "n = 500", "threshold_rung: 41", "45.30 s"):
        assert part in summary


def test_markdown_keeps_hostile_text_in_its_cell() -> None:
    findings = Findings()
    findings.table("tokens", ("token", "n"), [{"token": "a|b\n<script>", "n": 3}, {"token": "c"}])
    findings.add(best="x|y")
    result = ExperimentResult.parse(EXAMPLE | {"tables": findings.tables, "aggregates": findings.aggregates()})
    lines = result.to_markdown().splitlines()
    assert "| a\\|b &lt;script> | 3 |" in lines
    assert "| c | – |" in lines
    assert "- best: x\\|y" in lines


def test_findings_are_plain_and_reread(tmp_path: Path) -> None:
    findings = Findings()
    findings.add(top="Octobrush", is_dominant=np.bool_(True), n=np.int64(3), small=np.float32(0.5), bad=float("nan"))
    findings.add(names=np.array(["a", "b"]), nested={"x": (1, np.inf)})
    findings.aggregate(mean_delta=float("nan"), std_delta=1e-07, n_samples=4)
    findings.violate("max_ap_budget", "58 AP", n=2)
    findings.violate("max_ap_budget", "58 AP")
    findings.warn("once")
    findings.warn("once")
    told = findings.diagnostics(n_forwards=5)
    result = ExperimentResult.parse(
        EXAMPLE | {"aggregates": findings.aggregates(), "diagnostics": told, "success": False, "error_message": "why"}
    )
    again = read_result(result.write(tmp_path))
    assert again == result
    assert again.aggregates.custom == {
        "top": "Octobrush", "is_dominant": True, "n": 3, "small": 0.5, "bad": None,
        "names": ["a", "b"], "nested": {"x": [1, None]},
    }  # fmt: skip
    assert again.aggregates.mean_delta is None
    assert again.aggregates.std_delta == 1e-07
    assert again.diagnostics.warnings == ("once", "max_ap_budget: 58 AP (3 times)")
    assert [violation.n for violation in again.diagnostics.constraint_violations] == [3]
    assert "FAILED: why" in again.get_summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"success": False}, "needs an error_message"),
        ({"tables": {"t": {"name": "t", "columns": ["a"], "rows": [{"b": 1}]}}}, "'b', which is no column"),
        ({"agregates": {}}, "did you mean 'aggregates'"),
    ],
)
def test_impossible_results_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExperimentResult.parse(EXAMPLE | change)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object in a result"):
        plain(object())
