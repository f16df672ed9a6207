"""The next experiments on a feature, written as specs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mechscope.core import ConflictError
from mechscope.experiments import ExperimentFolders, load_context
from mechscope.experiments.planning import MOST, Plan, plan_experiments
from mechscope.store import write_json
from mechscope.workspace import Workspace, subject_named

__all__ = ["PlannedExperiments", "plan_next"]


@dataclass(frozen=True)
class PlannedExperiments:
    """A plan, and the files of its specs in the order of the proposals; none when nothing was to be written."""

    plan: Plan
    subject: str
    files: tuple[Path, ...]


def plan_next(
    workspace: Workspace,
    name: str | None,
    feature: int,
    *,
    most: int = MOST,
    output: Path | None = None,
    should_write: bool = True,
) -> PlannedExperiments:
    """Plan the next experiments on a feature, and write their specs.

    Args:
        workspace, name: the subject; the only one when None.
        feature: the feature.
        most: at most so many, 2 to 5.
        output: folder whose `specs/` takes the specs, by default the workspace's `experiments`; results there count
            beside those of the workspace.
        should_write: without, the plan is only told.

    Raises:
        NotFoundError, UsageError: as `plan_experiments`.
        ConflictError: specs that cannot be written.
    """
    own = ExperimentFolders.of_workspace(workspace.root)
    folders = own if output is None else ExperimentFolders(output)
    found, _ = subject_named(workspace, name)
    with load_context(found, workspace=workspace) as context:
        plan = plan_experiments(context, feature, list(dict.fromkeys((own, folders))), most=most)
    files = tuple(folders.specs / proposal.spec.file_name for proposal in plan.proposals)
    if not should_write:
        return PlannedExperiments(plan, found, ())
    try:
        folders.specs.mkdir(parents=True, exist_ok=True)
        for proposal, path in zip(plan.proposals, files, strict=True):
            write_json(path, proposal.spec.to_json())
    except OSError as error:
        raise ConflictError(
            f"{folders.specs} cannot be written ({error.strerror})",
            expected="a folder for specs",
            todo="choose another --output-dir, or change its permissions",
        ) from error
    return PlannedExperiments(plan, found, files)
