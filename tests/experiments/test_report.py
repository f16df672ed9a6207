"""The page of a result: what it claims and must not, intervals beside estimates, the way to make it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from mechscope.core import ConflictError
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, ResultTable, get_runner_for_type
from mechscope.experiments.report import experiment_report
from mechscope.experiments.tables import estimate_columns
from mechscope.reports import Estimate, Figure, Note, Table
from mechscope.services.experiment_pages import write_page

SWEEP = {"type": "family_1d_sweep", "feature_id": 3, "dataset_slice": {"sample_size": 40}}


def sweep(builds: ExperimentContext, mode: str) -> ExperimentResult:
    spec = ExperimentSpec.parse({**SWEEP, "mode": mode, "variables": {"family": "scu", "rungs": [3, 12]}})
    return get_runner_for_type(spec.type).run(spec, builds)


def notes(result: ExperimentResult) -> dict[str, str]:
    return {block.title: block.text for block in experiment_report(result).blocks if isinstance(block, Note)}


def test_an_observed_result_names_other_explanations_and_no_effect(builds: ExperimentContext) -> None:
    result = sweep(builds, "observational")
    said = notes(result)
    assert all(text in said["Correlational"] for text in result.alternatives)
    assert result.alternatives
    assert "Correlational" not in notes(sweep(builds, "interventional"))
    page = experiment_report(result).to_html()
    assert "Correlational" in page
    assert "mechscope experiment run --spec-path" in page
    assert page == experiment_report(result).to_html()


def test_a_failure_says_so_and_keeps_its_tables() -> None:
    table = ResultTable(name="t", columns=("x",), rows=({"x": 1},))
    result = ExperimentResult(
        spec_id="a", feature_id=1, experiment_type="coverage", tables={"t": table}, success=False, error_message="<why>"
    )
    assert notes(result) == {"The experiment failed": "<why>"}
    page = experiment_report(result).to_html()
    assert "&lt;why&gt;" in page
    assert "<why>" not in page


def test_without_a_claim_the_page_says_that_nothing_passed() -> None:
    result = ExperimentResult(spec_id="a", feature_id=1, experiment_type="family_1d_sweep", evidence="interventional")
    assert "No claim" in notes(result)
    claimed = result.updated(claims=("this",))
    assert notes(claimed) == {"Claim, interventional": "this"}


def test_bounds_stand_beside_their_estimate(builds: ExperimentContext) -> None:
    result = sweep(builds, "interventional")
    tables = {block.title: block for block in experiment_report(result).blocks if isinstance(block, Table)}
    stored, shown = result.tables["rung_deltas"], tables["rung_deltas"]
    names = [column.name for column in shown.columns]
    assert "mean_delta [95 %]" in names
    assert "low" not in names
    first, cell = stored.rows[0], shown.rows[0][names.index("mean_delta [95 %]")]
    assert isinstance(cell, Estimate)
    assert (cell.value, cell.low, cell.high) == (first["mean_delta"], first["low"], first["high"])


def test_which_columns_are_estimates() -> None:
    columns = ("rung", "mean_delta", "std_error", "n", "low", "high", "adjusted", "adjusted_low", "lonely_low")
    assert estimate_columns(columns) == {"mean_delta": "", "adjusted": "adjusted_"}
    groups = ("weapon", "mean", "std", "n", "n_clusters", "delta_from_global", "low", "high", "p")
    assert estimate_columns(groups) == {"delta_from_global": ""}
    shares = ("token", "core_share", "core_low", "core_high", "core_n", "tail_share", "tail_low", "tail_high")
    assert estimate_columns(shares) == {"core_share": "core_", "tail_share": "tail_"}
    assert estimate_columns(("tested", "tested_delta", "tested_low", "tested_high")) == {"tested_delta": "tested_"}
    assert estimate_columns(("n", "low", "high")) == {}


def test_a_page_draws_the_figures_that_were_not_asked_for(builds: ExperimentContext, tmp_path: Path) -> None:
    result = sweep(builds, "interventional")
    assert not result.figures
    page = write_page(result, tmp_path / "pages" / "a.html")
    drawn = get_runner_for_type(result.experiment_type).kind.draw(result)
    assert all(isinstance(figure, Figure) and figure.title in page.read_text("utf-8") for figure in drawn.values())
    (tmp_path / "file").write_text("")
    with pytest.raises(ConflictError, match="cannot be written"):
        write_page(result, tmp_path / "file" / "a.html")
