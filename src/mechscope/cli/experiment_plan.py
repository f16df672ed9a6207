"""`mechscope experiment plan`: the next experiments on a feature, as specs with a reason each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from mechscope.cli.options import AsJson, FeatureId, SubjectName, WorkspaceFolder
from mechscope.cli.output import print_envelope, print_result

if TYPE_CHECKING:
    from mechscope.experiments import ExperimentSpec

__all__ = ["plan"]


def plan(
    feature: FeatureId,
    model: SubjectName = None,
    most: Annotated[int, typer.Option("--max", help="At most so many specs.", min=2, max=5)] = 5,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Where specs/ goes; by default the workspace's experiments.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell the plan and write no spec.")] = False,
    workspace: WorkspaceFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Write the next 2 to 5 specs for a feature, each with the number and the record that it rests on."""
    from mechscope.services.experiment_plans import plan_next  # noqa: PLC0415  (help stays light)
    from mechscope.workspace import Workspace  # noqa: PLC0415

    found = plan_next(Workspace.open(workspace), model, feature, most=most, output=output_dir, should_write=not dry_run)
    proposals = found.plan.proposals
    if as_json:
        files: list[str | None] = [str(path) for path in found.files] or [None] * len(proposals)
        specs = [
            {"rule": one.rule, "reason": one.reason, "file": path, "spec": one.spec.to_json()}
            for one, path in zip(proposals, files, strict=True)
        ]
        told = {"feature": feature, "subject": found.subject, "dry_run": dry_run, "known": list(found.plan.known)}
        print_envelope("experiment plan", {**told, "n_struck": found.plan.n_struck, "specs": specs})
        return
    lines: list[str | Text] = [Text(f"next experiments on feature {feature} of {found.subject}", style="bold")]
    for number, one in enumerate(proposals, 1):
        head = Text(f"{number}. {one.spec.type}", style="bold").append(f"  {_asked(one.spec)}", style="not bold")
        lines += [head, f"   {one.rule}: {one.reason}"]
    if not proposals:
        lines.append("nothing is left to propose: every rule was answered")
    lines += ["", *found.plan.known]
    if found.plan.n_struck:
        lines.append(
            f"{found.plan.n_struck} more were struck out: run before, failed, or waiting with the same settings"
        )
    if found.files:
        folder = found.files[0].parent
        output = "" if output_dir is None else f" --output-dir {output_dir}"
        lines.append(f"next: mechscope experiment run --spec-path {folder} --skip-done{output} -w {workspace}")
    print_result(lines)


def _asked(spec: ExperimentSpec) -> str:
    settings = [f"{name}={_value(value)}" for name, value in spec.variables.items()]
    return " ".join([*settings, *([] if spec.mode is None else [spec.mode])])


def _value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
