"""Batches of experiments survive what happens to them: kills, full disks, another batch beside them."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mechscope.cli.app import main
from mechscope.core import ConflictError
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.reading import read_result
from mechscope.services import experiment_pool
from mechscope.services.experiment_jobs import Job, OpenSubjects, Outcome, do_job
from mechscope.services.experiment_pool import run_jobs
from mechscope.services.experiments import check_specs, find_workspace, read_specs, run_specs
from mechscope.workspace import Workspace


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The demo's workspace."""
    root = tmp_path_factory.mktemp("lab") / "lab"
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "argv", ["mechscope", "demo", "--subject", "splatoon", "--workspace", str(root), "--quiet"])
    with pytest.raises(SystemExit) as stopped:
        main()
    patch.undo()
    assert not stopped.value.code
    return Workspace.open(root)


def specs(folder: Path, n: int, **changes: object) -> list[Path]:
    """Spec files of quick experiments."""
    folder.mkdir(exist_ok=True)
    paths = []
    for at in range(n):
        path = folder / f"s{at:02}.json"
        spec = {"id": f"s{at:02}", "type": "coverage", "feature_id": at, "variables": {"tokens": "comeback"}, **changes}
        path.write_text(json.dumps(spec))
        paths.append(path)
    return paths


def run_in_background(lab: Workspace, folder: Path, output: Path, n_processes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mechscope", "experiment", "run", "--spec-path", str(folder), "-w", str(lab.root),
               "--output-dir", str(output), "--processes", str(n_processes), "--json"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def children_of(process: int) -> list[int]:
    """Worker processes (those that hold no semaphore tracker), read from the kernel's table."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) if entry.name.isdecimal() else -1
            words = (entry / "cmdline").read_bytes() if parent == process else b""
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [int(entry.name)] if b"spawn_main" in words else []
    return found


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: object, seconds: float = 300) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_batch_leaves_its_results_and_ends_its_workers_and_the_rest_is_run_later(
    lab: Workspace, tmp_path: Path
) -> None:
    slow = {"type": "binary_presence", "variables": {}, "dataset_slice": {"sample_size": 120}}
    paths, output = specs(tmp_path / "specs", 8, **slow), tmp_path / "out"
    batch = run_in_background(lab, tmp_path / "specs", output, 2)
    wait_for(lambda: len(list((output / "results").glob("*.json"))) >= 1)
    workers = children_of(batch.pid)
    assert workers
    batch.kill()
    batch.communicate()
    wait_for(lambda: not any(map(is_running, workers)), 60)
    kept = sorted((output / "results").glob("*.json"))
    assert 1 <= len(kept) < 8
    assert all(read_result(path).success for path in kept)
    told = [entry["result"] for entry in check_specs(read_specs(paths), lab, output=output)]
    assert told.count("done") == len(kept)
    assert told.count("missing") == 8 - len(kept)
    before = {path: path.stat().st_mtime_ns for path in kept}
    done = run_specs(lab, read_specs(paths), output=output, should_skip_done=True)
    assert all(result is not None and result.success and error is None for _, result, error in done)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert len(list((output / "results").glob("*.json"))) == 8


@pytest.mark.slow
def test_a_killed_worker_takes_no_other_experiment_along(lab: Workspace, tmp_path: Path) -> None:
    """A worker is killed as soon as there is one; its pool is made anew for what is not done."""
    paths = specs(tmp_path / "specs", 3)
    killed: list[int] = []

    def kill_one() -> None:
        wait_for(lambda: children_of(os.getpid()))
        killed.append(children_of(os.getpid())[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    done = run_specs(lab, read_specs(paths), output=tmp_path / "out", n_processes=2)
    killer.join()
    assert killed
    assert all(result is not None and result.success and error is None for _, result, error in done)
    assert len(list((tmp_path / "out" / "results").iterdir())) == 3


def test_a_spec_that_kills_every_worker_is_named_and_the_finished_ones_stay(lab: Workspace, tmp_path: Path) -> None:
    """Every worker is killed as soon as it is there, as a machine without memory does it."""
    spec = ExperimentSpec(type="coverage", feature_id=1, variables={"tokens": ["comeback"]})
    jobs = [Job(lab.root, tmp_path, spec.updated(id=f"j{n}"), f"j{n}.json") for n in range(3)]
    stop = threading.Event()

    def kill_workers() -> None:
        while not stop.is_set():
            for worker in children_of(os.getpid()):
                os.kill(worker, signal.SIGKILL)
            time.sleep(0.05)

    killer = threading.Thread(target=kill_workers)
    killer.start()
    outcomes = dict(run_jobs(jobs, 2))
    stop.set()
    killer.join()
    assert sorted(outcomes) == [0, 1, 2]
    own = outcomes.pop(2)  # this process took the last one, and whoever is killed takes nothing from it
    assert own.result is not None
    assert own.result.success
    assert all(outcome.result is None for outcome in outcomes.values())
    assert all("a worker process was killed 3 times" in str(outcome.error) for outcome in outcomes.values())


@pytest.mark.slow
def test_this_process_works_while_its_worker_starts_and_finds_the_same(
    lab: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = read_specs(specs(tmp_path / "specs", 6))
    alone = run_specs(lab, files, output=tmp_path / "alone")
    own: list[str] = []

    def noted(job: Job, opened: OpenSubjects) -> Outcome:
        own.append(job.spec.id)
        return do_job(job, opened)

    monkeypatch.setattr(experiment_pool, "do_job", noted)  # a worker does not see it
    together = run_specs(lab, files, output=tmp_path / "together", n_processes=2)
    assert own[:2] == ["s05", "s04"]
    assert not {"s00", "s01"} & set(own)
    for (_, one, _), (_, two, error) in zip(alone, together, strict=True):
        assert error is None
        assert one is not None
        assert two is not None
        assert two.success
        assert (two.tables, two.aggregates, two.figures) == (one.tables, one.aggregates, one.figures)


@pytest.mark.slow
def test_two_batches_write_into_one_folder_at_once(lab: Workspace, tmp_path: Path) -> None:
    specs(tmp_path / "one", 3)
    for at, path in enumerate(specs(tmp_path / "two", 3)):
        path.write_text(path.read_text().replace(f'"s{at:02}"', f'"t{at:02}"' if at else '"s00"'))
    output = tmp_path / "out"
    other = run_in_background(lab, tmp_path / "one", output, 1)
    while other.poll() is None:
        done = run_specs(lab, read_specs([tmp_path / "two"]), output=output)
        assert all(result is not None and result.success and error is None for _, result, error in done)
    out, err = other.communicate()
    assert other.returncode == 0, err.decode()
    assert all(entry["ok"] for entry in json.loads(out)["result"]["specs"])
    assert len(list((output / "results").glob("*.json"))) == 5  # s00 is the same spec in both
    assert all(read_result(path).success for path in (output / "results").glob("*.json"))
    assert not list(output.rglob(".tmp-*"))


def test_a_full_disk_is_said_and_the_finished_results_stay(lab: Workspace, tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: the larger results cannot be written."""
    small, large = specs(tmp_path / "specs", 2)
    large.write_text(json.dumps({"id": "large", "type": "token_influence", "feature_id": 3, "mode": "observational"}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        done = run_specs(lab, read_specs([large, small]), output=tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (_, unkept, error), (_, kept, fine) = done
    assert unkept is not None
    assert unkept.success
    assert "could not be kept: the disk is full" in str(error)
    assert fine is None
    assert kept is not None
    assert kept.success
    assert [path.name for path in (tmp_path / "out" / "results").iterdir()] == [kept.file_name]


def test_the_result_of_another_spec_is_never_written_over(lab: Workspace, tmp_path: Path) -> None:
    (path,) = specs(tmp_path / "specs", 1)
    output = tmp_path / "out"
    (first,) = run_specs(lab, read_specs([path]), output=output)
    assert first[1] is not None
    (again,) = run_specs(lab, read_specs([path]), output=output)
    assert again[2] is None
    stored = next((output / "results").iterdir()).read_bytes()
    path.write_text(path.read_text().replace("comeback", "haunt"))
    (other,) = run_specs(lab, read_specs([path]), output=output)
    assert "is the result of another spec with the id 's00'" in str(other[2])
    assert next((output / "results").iterdir()).read_bytes() == stored
    (entry,) = check_specs(read_specs([path]), lab, output=output)
    assert entry["result"] == "missing"


def test_folders_of_specs_and_specs_given_twice(tmp_path: Path) -> None:
    paths = specs(tmp_path / "specs", 3)
    assert [file.path for file in read_specs([tmp_path / "specs"])] == paths
    with pytest.raises(ConflictError, match="is given twice: both have the id 's01'"):
        read_specs([tmp_path / "specs", paths[1]])
    assert find_workspace(tmp_path) is None


def test_every_output_is_there_when_asked_for(lab: Workspace, tmp_path: Path) -> None:
    (path,) = specs(tmp_path / "specs", 1, outputs={"figures": True, "tables": False})
    ((_, result, error),) = run_specs(lab, read_specs([path]), output=tmp_path / "out")
    assert error is None
    assert result is not None
    assert not result.tables
    assert result.figures
    drawn = [path.name for path in (tmp_path / "out" / "figures").iterdir()]
    assert drawn == ["s00__f0__core-coverage__coverage.json"]


def test_a_kind_that_breaks_is_a_result_and_the_batch_goes_on(
    lab: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(
        self: object, spec: ExperimentSpec, context: ExperimentContext, spec_path: str | None
    ) -> ExperimentResult:
        del self, context, spec_path
        if spec.id == "s01":
            raise OSError(5, "the store went away")
        return ExperimentResult(spec_id=spec.id, feature_id=spec.feature_id, experiment_type="core_coverage")

    monkeypatch.setattr(type(get_runner_for_type("coverage")), "run", broken)
    done = run_specs(lab, read_specs(specs(tmp_path / "specs", 3)), output=tmp_path / "out")
    assert [result is not None and result.success for _, result, _ in done] == [True, False, True]
    assert "the store went away" in str(done[1][1] and done[1][1].error_message)
    unknown = specs(tmp_path / "other", 2, type="covrage")
    assert all("core_coverage" in str(result and result.error_message) or "coverage" in str(result)
               for _, result, _ in run_specs(lab, read_specs(unknown), output=tmp_path / "out2"))  # fmt: skip
