"""`mechscope experiment` on the shipped splatoon subject: flags, spec files, batches, refusals."""

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mechscope.cli.app import main
from mechscope.cli.experiment_calls import read_settings
from mechscope.cli.experiment_flags import COMMANDS
from mechscope.cli.experiment_tables import compact_table, fit_columns
from mechscope.core import UsageError
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments import ExperimentResult, ExperimentSpec, ExperimentType, find_kind
from mechscope.testing.command_line import Call

FOUNDING = {
    "id": "20250607_142531",
    "type": "family_1d_sweep",
    "feature_id": 12,
    "model_type": "splatoon",
    "dataset_slice": {"percentile_min": 10.0, "percentile_max": 90.0, "sample_size": 60},
    "variables": {"family": "special_charge_up", "rungs": [3, 12, 29, 41, 57], "include_absent": True},
    "constraints": ["one_rung_per_family"],
    "outputs": {"aggregates": True, "tables": True, "diagnostics": True, "figures": False},
    "description": "Test SCU response across rungs",
    "parent_hypothesis": "h001",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's workspace."""
    root = tmp_path_factory.mktemp("lab") / "lab"
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "argv", ["mechscope", "demo", "--subject", "splatoon", "--workspace", str(root), "--quiet"])
    with pytest.raises(SystemExit) as stopped:
        main()
    patch.undo()
    assert not stopped.value.code
    return root


def spec_file(folder: Path, name: str, **changes: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**FOUNDING, **changes}))
    return path


def test_a_sweep_from_flags_is_written_and_read_again(call: Call, lab: Path) -> None:
    done = call(
        "experiment",
        "family-sweep",
        "-f",
        3,
        "--family",
        "SCU",
        "--rungs",
        "3,12",
        "--sample-size",
        60,
        "-w",
        lab,
        "--json",
    )
    assert done.code == 0, done.out
    found = done.envelope["result"]
    stored = ExperimentResult.read(Path(found["file"]))
    assert stored.mode == stored.evidence == "interventional"
    assert [row["rung"] for row in stored.tables["rung_deltas"].rows] == [3, 12]
    assert Path(found["file"]).parent == lab / "experiments" / "results"
    assert (lab / "experiments" / "specs" / Path(found["file"]).name).is_file()
    shown = call(
        "experiment", "family-sweep", "-f", 3, "--family", "SCU", "--rungs", "3", "--sample-size", 40, "-w", lab
    )
    assert shown.code == 0
    assert "mean_delta [95 %]" in shown.out
    assert "interventional" in shown.out


def test_the_same_question_measured_by_type(call: Call, lab: Path) -> None:
    arguments = ("experiment", "measure", "family-1d-sweep", "-f", 3, "--set", "family=SCU", "--set", "rungs=3,12")
    done = call(*arguments, "--mode", "observational", "-w", lab, "--json")
    assert done.code == 0, done.out
    assert done.envelope["result"]["evidence"] == "observational"
    assert done.envelope["result"]["diagnostics"]["warnings"][0].startswith("CORRELATIONAL")


def test_a_batch_runs_whatever_one_of_its_specs_is(call: Call, lab: Path, tmp_path: Path) -> None:
    good = spec_file(tmp_path, "good")
    wrong = spec_file(tmp_path, "wrong", id="w", variables={"family": "special_charge_upp"})
    other = spec_file(tmp_path, "other", id="o", model_type="agreementt")
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{")
    paths = [part for path in (damaged, wrong, other, good) for part in ("--spec-path", path)]
    done = call("experiment", "run", *paths, "-w", lab, "--output-dir", tmp_path / "out", "--json")
    assert done.code == 5
    outcomes = done.envelope["result"]["specs"]
    assert [entry["ok"] for entry in outcomes] == [False, False, False, True]
    assert "special_charge_up" in outcomes[1]["error"]
    assert "splatoon" in outcomes[2]["error"]
    name = "20250607_142531__f12__family-1d-sweep.json"
    stored = ExperimentResult.read(tmp_path / "out" / "results" / name)
    assert stored.success
    assert stored.parent_hypothesis == "h001"
    assert ExperimentSpec.read(tmp_path / "out" / "specs" / name).feature_id == 12


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Processes share the threads that torch has, and sums over another number of threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_processes_give_the_results_of_one(call: Call, lab: Path, tmp_path: Path) -> None:
    paths = [spec_file(tmp_path, f"s{n}", id=f"s{n}", feature_id=n) for n in (3, 5)]
    given = [part for path in paths for part in ("--spec-path", path)]
    tables = []
    for n in (1, 2):
        done = call(
            "experiment", "run", *given, "-w", lab, "--output-dir", tmp_path / str(n), "--processes", n, "--json"
        )
        assert done.code == 0, done.out
        tables.append([entry["result"]["tables"] for entry in done.envelope["result"]["specs"]])
    assert tables[0] == tables[1]


def test_a_dry_run_checks_and_runs_nothing(call: Call, lab: Path, tmp_path: Path) -> None:
    good, wrong = spec_file(tmp_path, "good"), spec_file(tmp_path, "wrong", id="w", variables={"famly": "SCU"})
    done = call("experiment", "run", "--spec-path", good, "--spec-path", wrong, "--dry-run", "-w", lab, "--json")
    assert done.code == 5
    first, second = done.envelope["result"]["specs"]
    assert first["ok"]
    assert "family" in second["error"]


def test_two_specs_with_one_id_and_a_folder_that_cannot_be_written(call: Call, lab: Path, tmp_path: Path) -> None:
    paths = [spec_file(tmp_path, name) for name in ("one", "two")]
    done = call("experiment", "run", "--spec-path", paths[0], "--spec-path", paths[1], "-w", lab)
    assert done.code == 4
    assert "both have the id" in done.err.replace("\n", " ")
    (tmp_path / "file").write_text("")
    done = call("experiment", "run", "--spec-path", paths[0], "-w", lab, "--output-dir", tmp_path / "file")
    assert done.code == 4
    assert "cannot be written" in done.err


def test_types_are_listed(call: Call) -> None:
    kinds = call("experiment", "list-types", "--json").envelope["result"]
    assert "family_1d_sweep" in [kind["type"] for kind in kinds]
    assert all(kind["title"] and kind["modes"] and kind["variables"] for kind in kinds)


def test_every_type_that_ships_is_there_and_every_command_has_its_type() -> None:
    assert {find_kind(kind).name for kind in ExperimentType} <= set(EXPERIMENTS.names())
    for command in COMMANDS:
        variables = find_kind(command.experiment).variables.model_json_schema()["properties"]
        assert {flag.name for flag in command.flags} <= {*variables, "top_k"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("heatmap", "--family-x", "SCU", "--family-y", "comeback", "--rungs-x", "3,12"),
        ("kit-sweep", "--analyze-combinations", "--top-k", 3),
        ("binary", "--tokens", "comeback"),
        ("coverage", "--tokens", "comeback,stealth_jump"),
        ("token-influence", "--high-percentile", 90, "--sample-size", 20),
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_each_command_runs(call: Call, lab: Path, arguments: tuple[object, ...]) -> None:
    name, *flags = arguments
    done = call("experiment", name, "-f", 12, *flags, "-w", lab, "--json")
    assert done.code == 0, done.out
    assert done.envelope["result"]["success"]
    assert done.envelope["result"]["tables"]


def test_a_plan_is_run_and_planned_upon(call: Call, lab: Path, tmp_path: Path) -> None:
    told = call("experiment", "plan", 12, "--dry-run", "--output-dir", tmp_path, "-w", lab, "--json")
    assert told.code == 0, told.out
    assert {entry["file"] for entry in told.envelope["result"]["specs"]} == {None}
    assert not (tmp_path / "specs").exists()
    seen: list[dict[str, object]] = []
    for n_most in (3, 2):
        done = call("experiment", "plan", 12, "--max", n_most, "--output-dir", tmp_path, "-w", lab, "--json")
        assert done.code == 0, done.out
        entries = done.envelope["result"]["specs"]
        assert 2 <= len(entries) <= n_most
        paths = [part for entry in entries for part in ("--spec-path", entry["file"])]
        assert call("experiment", "run", *paths, "--dry-run", "-w", lab).code == 0
        ran = call("experiment", "run", *paths, "--output-dir", tmp_path, "-w", lab, "--json")
        assert ran.code == 0, ran.out
        for entry in entries:
            spec = ExperimentSpec.read(Path(entry["file"]))
            assert spec.description == entry["reason"]
            assert Path(entry["file"]).name == spec.file_name
            settings = {**spec.to_json(), "id": "", "description": ""}
            assert settings not in seen
            seen.append(settings)
    shown = call("experiment", "plan", 12, "--output-dir", tmp_path, "-w", lab, "--dry-run")
    assert "next experiments on feature 12" in shown.out
    assert call("experiment", "plan", 100_000, "-w", lab).code == 3
    assert call("experiment", "plan", 12, "--max", 9, "-w", lab).code == 2


def test_unknown_names_offer_the_nearest(call: Call, lab: Path) -> None:
    done = call("experiment", "measure", "family_1d_swep", "-f", 3, "-w", lab)
    assert done.code == 3
    assert "family_1d_sweep" in done.err
    done = call("experiment", "family-sweep", "-f", 3, "--family", "SCU", "--rungs", "3,x", "-w", lab)
    assert done.code == 2
    assert "whole numbers" in done.err


def test_settings_are_read_as_json_lists_or_text() -> None:
    assert read_settings(["family=scu", "rungs=3,12", "deep=true", "share=0.5", 'held={"weapon": "a"}']) == {
        "family": "scu",
        "rungs": [3, 12],
        "deep": True,
        "share": 0.5,
        "held": {"weapon": "a"},
    }
    with pytest.raises(UsageError, match="expected: key=value"):
        read_settings(["family"])


def test_an_estimate_and_its_bounds_share_a_column() -> None:
    columns = (
        "rung",
        "mean_delta",
        "std_error",
        "n",
        "low",
        "high",
        "p",
        "p_corrected",
        "crude",
        "crude_low",
        "crude_high",
    )
    row = dict(zip(columns, (3, 0.5, 0.1, 9, 0.25, 0.75, 0.01, 0.02, None, None, None), strict=True))
    names, rows = compact_table(columns, [row])
    assert names == ["rung", "mean_delta [95 %]", "n", "p_corrected", "crude [95 %]"]
    assert rows == [(3, "0.5 [0.25, 0.75]", 9, 0.02, None)]


def test_a_stored_result_is_shown_again_and_as_a_page(call: Call, lab: Path, tmp_path: Path) -> None:
    flags = ["-f", 3, "--family", "SCU", "--rungs", "3,12", "--sample-size", 20, "--figures", "--workspace", lab]
    asked = ["experiment", "family-sweep", *flags, "--output-dir", tmp_path / "out"]
    stored = Path(call(*asked, "--json").envelope["result"]["file"])
    assert [path.suffix for path in sorted((tmp_path / "out" / "figures").iterdir())] == [".html", ".json"]
    people = call("experiment", "show", stored, "--html", tmp_path / "page.html")
    assert people.code == 0, people.err
    assert "rung_deltas" in people.out
    assert (tmp_path / "page.html").read_bytes() == stored.parent.parent.joinpath(
        "figures", f"{stored.stem}.html"
    ).read_bytes()
    assert call("experiment", "show", stored, "--markdown").out.startswith("# family_1d_sweep of feature 3")
    assert call("experiment", "show", stored, "--json").envelope["result"]["feature_id"] == 3
    missing = call("experiment", "show", tmp_path / "none.json")
    assert missing.code == 3
    assert "no file at" in missing.err


def test_a_wide_table_loses_columns_from_its_end_and_says_which() -> None:
    columns, row = ["token", "mean_delta", "n", "effect", "spread", "flag"], ("comeback", 0.5, 100, 0.25, 0.125, "few")
    assert fit_columns(columns, [row], 200) == (columns, [row], [])
    fewer, cells, left = fit_columns(columns, [row], 42)
    assert (fewer, left) == (["token", "mean_delta", "n", "flag"], ["effect", "spread"])
    assert cells == [("comeback", 0.5, 100, "few")]
    assert fit_columns(columns, [row], 1)[0] == ["token", "mean_delta"]


def test_the_corrected_p_stays_longer_than_further_estimates() -> None:
    columns = ["rung", "name", "mean_delta [95 %]", "n", "crude [95 %]", "effect", "p_corrected", "flag"]
    row = (3, "three", "0.5 [0.2, 0.8]", 9, "0.4 [0.1, 0.7]", 0.3, 0.02, "few")
    gone = [fit_columns(columns, [row], width)[2] for width in range(120, 10, -1)]
    order = [new for one, two in pairwise(gone) for new in two if new not in one]
    assert order == ["effect", "crude [95 %]", "n", "mean_delta [95 %]", "p_corrected", "flag"]


def test_spec_files_stand_behind_one_flag_or_none_and_each_result_is_named(
    call: Call, lab: Path, tmp_path: Path
) -> None:
    paths = [spec_file(tmp_path, f"s{n}", id=f"s{n}", feature_id=n) for n in range(100)]
    for asked in (["--spec-path", *paths], paths, ["--spec-path", paths[0], *paths[1:50], "--spec-path", *paths[50:]]):
        checked = call("experiment", "run", *asked, "--dry-run", "--json", "-w", lab)
        assert sorted(entry["path"] for entry in checked.envelope["result"]["specs"]) == sorted(map(str, paths))
    assert call("experiment", "run", "-w", lab).code == 2
    done = call("experiment", "run", "--spec-path", *paths[3:5], "-w", lab, "--output-dir", tmp_path / "out", "--quiet")
    assert done.code == 0
    words = "".join(done.out.split())
    for path in sorted((tmp_path / "out" / "results").iterdir()):
        assert f"result:{path}" in words
    assert f"mechscopeexperimentshow{tmp_path}" in words
