"""The jobs of a batch of experiments: each is one spec, and none of them can stop another.

A job measures, writes its spec, result and figures, and gives an outcome; whatever goes wrong is in the outcome. Worker
processes end when the process that started them is gone, and a pool that lost a worker (killed, out of memory) is made
anew for the jobs that are not done yet, a few times.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

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

__all__ = ["Job", "Outcome", "run_jobs", "write_result"]

POOLS_MOST = 3
WATCH_SECONDS = 1.0


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


def run_jobs(jobs: Sequence[Job], n_processes: int) -> Iterator[tuple[int, Outcome]]:
    """Run jobs, in this process or over a pool, and give (index, outcome) as they end. Raises nothing of theirs."""
    if n_processes <= 1 or len(jobs) <= 1:
        opened: dict[tuple[Path, str], ExperimentContext] = {}
        try:
            for index, job in enumerate(jobs):
                yield index, _work(job, opened)
        finally:
            _close(opened)
        return
    waiting = list(range(len(jobs)))
    for _ in range(POOLS_MOST):
        done = set()
        for index, outcome in _over_a_pool([(index, jobs[index]) for index in waiting], n_processes):
            done.add(index)
            yield index, outcome
        waiting = [index for index in waiting if index not in done]
        if not waiting:
            return
    for index in waiting:
        yield index, Outcome(None, f"not run: a worker process was killed {POOLS_MOST} times while this one was "
                             "running or waiting (out of memory?); run it again, with fewer --processes")  # fmt: skip


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


def _over_a_pool(jobs: Sequence[tuple[int, Job]], n_processes: int) -> Iterator[tuple[int, Outcome]]:
    """What one pool gets done; nothing for the jobs that a killed worker took along."""
    with ProcessPoolExecutor(
        min(n_processes, len(jobs)),
        mp_context=get_context("spawn"),
        initializer=_end_with_parent,
        initargs=(os.getpid(),),
    ) as pool:
        try:
            waiting = {pool.submit(_work_in_pool, job): index for index, job in jobs}
            for future in as_completed(waiting):
                if future.exception() is None:
                    yield waiting[future], future.result()
                elif not isinstance(future.exception(), BrokenProcessPool):
                    yield waiting[future], Outcome(None, f"the experiment could not be run: {future.exception()}")
        except BrokenProcessPool:  # a worker may die while jobs are still being handed in
            return


_OPEN: dict[tuple[Path, str], ExperimentContext] = {}  # subjects that this worker process has opened


def _work_in_pool(job: Job) -> Outcome:
    return _work(job, _OPEN)


def _work(job: Job, opened: dict[tuple[Path, str], ExperimentContext]) -> Outcome:
    result = _measured(job, opened)
    try:
        write_result(job.spec, result, ExperimentFolders(job.output))
    except (UserError, OSError) as error:
        return Outcome(result, f"the result could not be kept: {error}")
    return Outcome(result)


def _measured(job: Job, opened: dict[tuple[Path, str], ExperimentContext]) -> ExperimentResult:
    spec = job.spec
    try:
        runner = get_runner_for_type(spec.type)
        workspace = Workspace.open(job.workspace)
        name, _ = subject_named(workspace, spec.model_type)
        if (job.workspace, name) not in opened:
            opened[job.workspace, name] = load_context(name, workspace=workspace)
        return runner.run(spec, opened[job.workspace, name], spec_path=job.spec_path)
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


def _close(opened: dict[tuple[Path, str], ExperimentContext]) -> None:
    while opened:
        opened.popitem()[1].close()


def _end_with_parent(parent: int) -> None:
    """Let this worker end when the process that started it is gone: nobody would read what it does."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
