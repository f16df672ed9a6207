"""The jobs of a batch of experiments: each is one spec, and none of them can stop another.

A job measures, writes its spec, result and figures, and gives an outcome; whatever goes wrong is in the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mechscope.core import ConflictError, UserError
from mechscope.experiments import (
    ExperimentContext,
    ExperimentFolders,
    ExperimentResult,
    ExperimentSpec,
    get_runner_for_type,
    load_context,
    read_result,
)
from mechscope.store import write_json
from mechscope.workspace import Workspace, subject_named

__all__ = ["Job", "OpenSubjects", "Outcome", "close_subjects", "do_job", "write_result"]

OpenSubjects: TypeAlias = dict[tuple[Path, str | None], ExperimentContext]  # by workspace and the name asked for


@dataclass(frozen=True)
class Job:
    """One spec of a batch: the workspace it runs in, where it is written, the name of its file."""

    workspace: Path
    output: Path
    spec: ExperimentSpec
    spec_path: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its result (which may be one without success), and why it is not kept, if it is not."""

    result: ExperimentResult | None
    error: str | None = None


def do_job(job: Job, opened: OpenSubjects) -> Outcome:
    """Measure and write. A subject that is not among those opened is opened, and left there for the next job."""
    result = _measured(job, opened)
    try:
        write_result(job.spec, result, ExperimentFolders(job.output))
    except (UserError, OSError) as error:
        return Outcome(result, f"the result could not be kept: {error}")
    return Outcome(result)


def close_subjects(opened: OpenSubjects) -> None:
    """Close each once, under however many names it was asked for."""
    contexts = {id(context): context for context in opened.values()}
    opened.clear()
    for context in contexts.values():
        context.close()


def write_result(spec: ExperimentSpec, result: ExperimentResult, folders: ExperimentFolders) -> Path:
    """Write spec, figures and, last, the result; return the result's path.

    Raises ConflictError: a disk that is full or cannot be written, or another spec's result under the same name.
    """
    path = folders.results / result.file_name
    if path.is_file() and (other := read_result(path).provenance.get("spec_digest", spec.digest)) != spec.digest:
        raise ConflictError(
            f"{path} is the result of another spec with the id {spec.id!r} (digest {str(other)[:12]}…)",
            expected="an id of its own in every spec",
            todo="change the id, or leave it away to get a new one; or choose another --output-dir",
        )
    write_json(folders.specs / spec.file_name, spec.to_json())
    for name, figure in result.figures.items():
        write_json(folders.figures / f"{path.stem}__{name}.json", figure.to_json())
    return result.write(folders.results)


def _measured(job: Job, opened: OpenSubjects) -> ExperimentResult:
    spec = job.spec
    try:
        runner = get_runner_for_type(spec.type)
        return runner.run(spec, _subject_of(job, opened), spec_path=job.spec_path)
    except Exception as error:  # one spec that cannot be run is a result with success false
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return ExperimentResult(
            spec_id=spec.id,
            spec_path=job.spec_path,
            feature_id=spec.feature_id,
            experiment_type=spec.type,
            model_type=spec.model_type,
            success=False,
            error_message=told,
            description=spec.description,
            parent_hypothesis=spec.parent_hypothesis,
            provenance={"spec_digest": spec.digest},
        )


def _subject_of(job: Job, opened: OpenSubjects) -> ExperimentContext:
    asked = (job.workspace, job.spec.model_type)
    if asked not in opened:  # the workspace's file is read once: it is a good part of what a quick experiment takes
        workspace = Workspace.open(job.workspace)
        name, _ = subject_named(workspace, job.spec.model_type)
        if (job.workspace, name) not in opened:
            opened[job.workspace, name] = load_context(name, workspace=workspace)
        opened[asked] = opened[job.workspace, name]
    return opened[asked]
