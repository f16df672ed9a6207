"""Experiments from specs: read, checked, run one by one or over a pool of processes, written as they finish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from mechscope.core import SILENT, ConflictError, NotFoundError, Progress, UsageError, UserError
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
    read_result,
)
from mechscope.services.experiment_jobs import Job, Outcome, write_result
from mechscope.services.experiment_pool import run_jobs
from mechscope.workspace import Workspace, subject_named

__all__ = ["SpecFile", "check_specs", "experiment_types", "find_workspace", "read_specs", "run_one", "run_specs"]


SPEC_SUFFIXES = (".json", ".yaml", ".yml")


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


def find_workspace(root: Path) -> Workspace | None:
    """The workspace of a folder; None where there is none. Raises UserError for a damaged one."""
    try:
        return Workspace.open(root)
    except NotFoundError:
        return None


def read_specs(paths: Sequence[Path]) -> list[SpecFile]:
    """Every spec file, those of a folder by name; a damaged one keeps its error and stops nothing.

    Raises:
        UsageError: no file, or a folder without any.
        ConflictError: two specs with one id, of which one would overwrite the other's result.
    """
    if not paths:
        raise UsageError("no spec file", expected="at least one --spec-path", todo="give the file of a spec")
    files = [_read(path) for path in _files(paths)]
    seen: dict[str, Path] = {}
    for file in files:
        if file.spec is not None and (other := seen.get(file.spec.id)) is not None:
            twice = f"{file.path} is given twice" if other == file.path else f"{other} and {file.path}"
            raise ConflictError(
                f"{twice}: both have the id {file.spec.id!r}",
                expected="each spec once, with an id of its own",
                todo="change one of the ids, or leave it away to get a new one",
            )
        seen.update({} if file.spec is None else {file.spec.id: file.path})
    return files


def check_specs(
    files: Sequence[SpecFile], workspace: Workspace | None = None, *, output: Path | None = None
) -> list[dict[str, Any]]:
    """What `--dry-run` says of each file: its type, feature and mode, or its error. Nothing is run or written.

    With a workspace also whether its subject and feature are there, and what its result is in the output folder:
    "done", "failed" or "missing".
    """
    opened: dict[str, ExperimentContext] = {}
    try:
        checked = [_checked(file, workspace, opened) for file in files]
    finally:
        while opened:
            opened.popitem()[1].close()
    if workspace is not None:
        kept = dict(_kept(_folders(workspace, output), files))
        for index, entry in enumerate(checked):
            entry["result"] = "missing" if index not in kept else "done" if kept[index].success else "failed"
    return checked


def run_one(workspace: Workspace, spec: ExperimentSpec, *, output: Path | None = None) -> tuple[ExperimentResult, Path]:
    """Run one spec on its subject, and write spec and result. Raises as `get_runner_for_type` before anything runs."""
    check_spec(spec)
    folders = _folders(workspace, output)
    name, _ = subject_named(workspace, spec.model_type)
    with _prepared(folders), load_context(name, workspace=workspace) as context:
        result = get_runner_for_type(spec.type).run(spec, context)
        return result, write_result(spec, result, folders)


def run_specs(
    workspace: Workspace,
    files: Sequence[SpecFile],
    *,
    output: Path | None = None,
    n_processes: int = 1,
    should_skip_done: bool = False,
    progress: Progress = SILENT,
) -> list[tuple[SpecFile, ExperimentResult | None, str | None]]:
    """Run a batch, in the order of the files: (file, result, error).

    A failing experiment gives a result with `success` false, a damaged file or a result that could not be kept an
    error; none of them stops the batch, nor does a worker process that is killed. Each result is written when it is
    there, so that finished ones stay whatever comes after.

    Args:
        n_processes: how many processes share the work, this one among them; each opens a subject once.
        should_skip_done: do not run again what has a result with success in the folder; that result is given.

    Raises:
        UserError: an output folder that cannot be written, before anything is run.
    """
    folders = _folders(workspace, output)
    found = {index: Outcome(kept) for index, kept in _kept(folders, files) if should_skip_done and kept.success}
    todo = [index for index, file in enumerate(files) if file.spec is not None and index not in found]
    jobs = [Job(workspace.root, folders.root, _spec(files[index]), files[index].path.name) for index in todo]
    with _prepared(folders), progress.task("experiments", total=len(jobs), unit="specs") as task:
        for at, outcome in run_jobs(jobs, n_processes):
            found[todo[at]] = outcome
            task.advance(1, note=jobs[at].spec.type)
    outcomes = [found.get(index, Outcome(None, file.error)) for index, file in enumerate(files)]
    return [(file, outcome.result, outcome.error) for file, outcome in zip(files, outcomes, strict=True)]


def _kept(folders: ExperimentFolders, files: Sequence[SpecFile]) -> Iterator[tuple[int, ExperimentResult]]:
    """The results that these very specs have in the folder already, with their index."""
    for index, file in enumerate(files):
        path = None if file.spec is None else folders.results / file.spec.file_name
        if file.spec is None or path is None or not path.is_file():
            continue
        try:
            result = read_result(path)
        except UserError:  # damaged: it is run again
            continue
        if result.provenance.get("spec_digest") == file.spec.digest:
            yield index, result


def _folders(workspace: Workspace, output: Path | None) -> ExperimentFolders:
    return ExperimentFolders.of_workspace(workspace.root) if output is None else ExperimentFolders(output)


@contextmanager
def _prepared(folders: ExperimentFolders) -> Iterator[None]:
    """The folders, made and tried before anything is run."""
    for folder in (folders.specs, folders.results, folders.figures):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # a name of its own: two batches may try one folder at the same time
            with NamedTemporaryFile(prefix=".tmp-probe-", dir=folder):
                pass
        except OSError as error:
            raise ConflictError(
                f"{folder} cannot be written ({error.strerror})",
                expected="a folder for specs, results and figures",
                todo="choose another --output-dir, or change its permissions",
            ) from error
    yield


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(file for file in path.iterdir() if file.suffix in SPEC_SUFFIXES and file.is_file())
        if not found:
            raise UsageError(
                f"the folder {path} has no spec in it",
                expected=f"files that end in {', '.join(SPEC_SUFFIXES)}",
                todo="name a spec file, or another folder",
            )
        yield from found


def _read(path: Path) -> SpecFile:
    try:
        return SpecFile(path, ExperimentSpec.read(path))
    except UserError as error:
        return SpecFile(path, None, str(error))


def _checked(file: SpecFile, workspace: Workspace | None, opened: dict[str, ExperimentContext]) -> dict[str, Any]:
    facts: Mapping[str, Any] = {"path": str(file.path)}
    if file.spec is None:
        return {**facts, "ok": False, "error": file.error}
    try:
        context = None
        if workspace is not None:
            name, _ = subject_named(workspace, file.spec.model_type)
            if name not in opened:
                opened[name] = load_context(name, workspace=workspace)
            context = opened[name]
        spec = check_spec(file.spec, context)
    except UserError as error:
        return {**facts, "ok": False, "error": str(error)}
    return {**facts, "ok": True, "id": spec.id, "type": spec.type, "feature_id": spec.feature_id, "mode": spec.mode}


def _spec(file: SpecFile) -> ExperimentSpec:
    assert file.spec is not None
    return file.spec
