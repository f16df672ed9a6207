"""Experiments from specs: read, checked, run one by one or over a pool of processes, written as they finish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mechscope.core import SILENT, ConflictError, Progress, UsageError, UserError
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments import (
    ExperimentContext,
    ExperimentFolders,
    ExperimentResult,
    ExperimentSpec,
    check_spec,
    find_kind,
    get_runner_for_type,
    load_context,
)
from mechscope.store import write_json
from mechscope.workspace import Workspace, subject_named

__all__ = ["SpecFile", "check_specs", "experiment_types", "read_specs", "run_one", "run_specs"]


@dataclass(frozen=True)
class SpecFile:
    """A spec file as it was given: its spec, or why it is none."""

    path: Path
    spec: ExperimentSpec | None
    error: str | None = None


def experiment_types() -> list[dict[str, Any]]:
    """Every registered type with its title, modes and variables."""
    kinds = [find_kind(name) for name in EXPERIMENTS.names()]
    return [
        {
            "type": kind.name,
            "aliases": list(kind.aliases),
            "title": kind.title,
            "modes": list(kind.modes),
            "variables": list(kind.variables.model_fields),
        }
        for kind in kinds
    ]


def read_specs(paths: Sequence[Path]) -> list[SpecFile]:
    """Every spec file; a damaged one keeps its error and stops nothing.

    Raises:
        UsageError: no file.
        ConflictError: two specs with one id, of which one would overwrite the other's result.
    """
    if not paths:
        raise UsageError("no spec file", expected="at least one --spec-path", todo="give the file of a spec")
    files = [_read(path) for path in paths]
    seen: dict[str, Path] = {}
    for file in files:
        if file.spec is not None and (other := seen.setdefault(file.spec.id, file.path)) != file.path:
            raise ConflictError(
                f"{other} and {file.path} both have the id {file.spec.id!r}",
                expected="an id of its own in every spec",
                todo="change one of the ids, or leave it away to get a new one",
            )
    return files


def check_specs(files: Sequence[SpecFile]) -> list[dict[str, Any]]:
    """What `--dry-run` says of each file: its type, feature and mode, or its error. Nothing is run."""
    return [_checked(file) for file in files]


def run_one(workspace: Workspace, spec: ExperimentSpec, *, output: Path | None = None) -> tuple[ExperimentResult, Path]:
    """Run one spec on its subject, and write spec and result. Raises as `get_runner_for_type` before anything runs."""
    check_spec(spec)
    folders = _folders(workspace, output)
    name, _ = subject_named(workspace, spec.model_type)
    with _prepared(folders), load_context(name, workspace=workspace) as context:
        return _run_and_write(spec, context, folders, None)


def run_specs(
    workspace: Workspace,
    files: Sequence[SpecFile],
    *,
    output: Path | None = None,
    n_processes: int = 1,
    progress: Progress = SILENT,
) -> list[tuple[SpecFile, ExperimentResult | None, str | None]]:
    """Run a batch, in the order of the files: (file, result, error).

    A failing experiment gives a result with `success` false, a damaged file an error; neither stops the batch. Each
    result is written when it is there, so that finished ones stay whatever comes after.

    Args:
        n_processes: how many processes share the work; each opens a subject once. 1: this process.

    Raises:
        UserError: an output folder that cannot be written, before anything is run.
    """
    folders = _folders(workspace, output)
    good = [index for index, file in enumerate(files) if file.spec is not None]
    found: dict[int, ExperimentResult | None] = {}
    with _prepared(folders), progress.task("experiments", total=len(good), unit="specs") as task:
        for index, result in _results(workspace.root, folders, files, good, n_processes):
            found[index] = result
            task.advance(1, note=result.experiment_type)
    return [(file, found.get(index), file.error) for index, file in enumerate(files)]


def _results(
    root: Path, folders: ExperimentFolders, files: Sequence[SpecFile], good: Sequence[int], n_processes: int
) -> Iterator[tuple[int, ExperimentResult]]:
    jobs = [(index, _Job(root, folders.root, _spec(files[index]), files[index].path.name)) for index in good]
    if n_processes <= 1 or len(jobs) <= 1:
        yield from ((index, _work(job)) for index, job in jobs)
        _close()
        return
    with ProcessPoolExecutor(min(n_processes, len(jobs)), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_work, job): index for index, job in jobs}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


@dataclass(frozen=True)
class _Job:
    workspace: Path
    output: Path
    spec: ExperimentSpec
    spec_path: str


_OPEN: dict[tuple[Path, str], ExperimentContext] = {}  # subjects that this process has opened


def _work(job: _Job) -> ExperimentResult:
    workspace = Workspace.open(job.workspace)
    folders = ExperimentFolders(job.output)
    try:
        name, _ = subject_named(workspace, job.spec.model_type)
        key = (job.workspace, name)
        if key not in _OPEN:
            _OPEN[key] = load_context(name, workspace=workspace)
    except UserError as error:
        return _failed(job.spec, str(error))
    return _run_and_write(job.spec, _OPEN[key], folders, job.spec_path)[0]


def _close() -> None:
    while _OPEN:
        _OPEN.popitem()[1].close()


def _run_and_write(
    spec: ExperimentSpec, context: ExperimentContext, folders: ExperimentFolders, spec_path: str | None
) -> tuple[ExperimentResult, Path]:
    result = get_runner_for_type(spec.type).run(spec, context, spec_path=spec_path)
    write_json(folders.specs / spec.file_name, spec.to_json())
    path = result.write(folders.results)
    for name, figure in result.figures.items():
        write_json(folders.figures / f"{path.stem}__{name}.json", figure.to_json())
    return result, path


def _failed(spec: ExperimentSpec, error: str) -> ExperimentResult:
    return ExperimentResult(
        spec_id=spec.id,
        feature_id=spec.feature_id,
        experiment_type=spec.type,
        model_type=spec.model_type,
        success=False,
        error_message=error,
    )


def _folders(workspace: Workspace, output: Path | None) -> ExperimentFolders:
    return ExperimentFolders.of_workspace(workspace.root) if output is None else ExperimentFolders(output)


@contextmanager
def _prepared(folders: ExperimentFolders) -> Iterator[None]:
    """The folders, made and tried before anything is run."""
    for folder in (folders.specs, folders.results, folders.figures):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".tmp-probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConflictError(
                f"{folder} cannot be written ({error.strerror})",
                expected="a folder for specs, results and figures",
                todo="choose another --output-dir, or change its permissions",
            ) from error
    yield


def _read(path: Path) -> SpecFile:
    try:
        return SpecFile(path, ExperimentSpec.read(path))
    except UserError as error:
        return SpecFile(path, None, str(error))


def _checked(file: SpecFile) -> dict[str, Any]:
    facts: Mapping[str, Any] = {"path": str(file.path)}
    if file.spec is None:
        return {**facts, "ok": False, "error": file.error}
    try:
        spec = check_spec(file.spec)
    except UserError as error:
        return {**facts, "ok": False, "error": str(error)}
    return {**facts, "ok": True, "id": spec.id, "type": spec.type, "feature_id": spec.feature_id, "mode": spec.mode}


def _spec(file: SpecFile) -> ExperimentSpec:
    assert file.spec is not None
    return file.spec
