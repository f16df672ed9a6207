"""`mechscope experiment`: one question about one feature, observed or intervened; from flags or from spec files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechscope.cli.experiment_calls import ExperimentCall, print_batch, read_settings, run_call
from mechscope.cli.experiment_flags import (
    COMMANDS,
    Feature,
    Figures,
    ModeName,
    OutputDir,
    SampleSize,
    Seed,
    command_function,
)
from mechscope.cli.experiment_plan import plan
from mechscope.cli.experiment_show import show
from mechscope.cli.options import AsJson, Quiet, SubjectName, WorkspaceFolder
from mechscope.cli.output import print_envelope, print_result, print_table, progress_for

__all__ = ["app"]

app = typer.Typer(
    help="Experiments on features: the same question observed and intervened, from one command or from specs.",
    no_args_is_help=True,
)

Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value for a variable of the kind; may be repeated.")
]


@app.callback(invoke_without_command=True)
def root(
    list_all: Annotated[bool, typer.Option("--list-types", help="Every type of experiment; as `list-types`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set up nothing; `--list-types` stands for the command of that name."""
    if list_all:
        list_types(as_json=as_json)
        raise typer.Exit


@app.command("list-types")
def list_types(as_json: AsJson = False) -> None:
    """Every type of experiment, with its modes and variables."""
    from mechscope.services.experiments import experiment_types

    types = experiment_types()
    if as_json:
        print_envelope("experiment list-types", types)
        return
    rows = [(kind["type"], kind["title"], ", ".join(kind["modes"]), ", ".join(kind["variables"])) for kind in types]
    print_table("types of experiments", ("type", "what it asks", "modes", "variables"), rows)


@app.command("run")
def run(
    specs: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Spec files (JSON or YAML), or folders of them.")
    ] = None,
    spec_path: Annotated[
        list[Path] | None,
        typer.Option("--spec-path", help="The same, as a flag: several files may follow it, and it may be repeated."),
    ] = None,
    output_dir: OutputDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the specs and run nothing.")] = False,
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Do not run again what has a result with success in the folder.")
    ] = False,
    processes: Annotated[int, typer.Option("--processes", help="Processes that share a batch.", min=1)] = 1,
    workspace: WorkspaceFolder = Path(),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run spec files. A failing one is a result that says so, and stops no other."""
    from mechscope.experiments import ExperimentFolders
    from mechscope.services.experiments import check_specs, find_workspace, read_specs, run_specs
    from mechscope.workspace import Workspace

    files = read_specs([*(spec_path or []), *(specs or [])])
    if dry_run:
        opened = find_workspace(workspace)
        checked = check_specs(files, opened, output=output_dir)
        if as_json:
            print_envelope("experiment run", {"dry_run": True, "specs": checked})
        else:
            rows = [
                (spec["path"], "ok" if spec["ok"] else "refused", spec.get("error") or spec["type"], spec.get("result"))
                for spec in checked
            ]
            print_table("specs", ("file", "check", "type or error", "result"), rows)
            if opened is None:
                print_result([f"{workspace} is no workspace: subjects and features were not looked up"])
    else:
        found = Workspace.open(workspace)
        folders = ExperimentFolders.of_workspace(found.root) if output_dir is None else ExperimentFolders(output_dir)
        done = run_specs(
            found,
            files,
            output=output_dir,
            n_processes=processes,
            should_skip_done=skip_done,
            progress=progress_for(quiet=quiet or as_json),
        )
        checked = [
            {
                "path": str(file.path),
                "ok": result is not None and result.success and error is None,
                "error": error or (None if result is None else result.error_message),
                "file": None if result is None or error else str(folders.results / result.file_name),
                "result": None if result is None else result.to_json(),
            }
            for file, result, error in done
        ]
        if as_json:
            print_envelope("experiment run", {"dry_run": False, "specs": checked})
        else:
            shown = [(entry["path"], "done" if entry["ok"] else "failed", entry["error"] or "") for entry in checked]
            print_table("experiments", ("spec", "result", "error"), shown)
            print_batch([(None if result is None or error else folders.results / result.file_name, result)
                         for _, result, error in done])  # fmt: skip
    if not all(entry["ok"] for entry in checked):
        raise typer.Exit(5)


@app.command("measure")
def measure(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="A type that `experiment list-types` names.")],
    feature_id: Feature,
    model: SubjectName = None,
    settings: Settings = None,
    mode: ModeName = None,
    sample_size: SampleSize = None,
    seed: Seed = 0,
    output_dir: OutputDir = None,
    figures: Figures = False,
    workspace: WorkspaceFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Run any type of experiment with its variables given as --set key=value."""
    variables = read_settings(settings or [])
    call = ExperimentCall(kind, feature_id, model, variables, mode, sample_size, seed, output_dir, figures, workspace)
    run_call(call, as_json=as_json)


app.command("show")(show)
app.command("plan")(plan)
for _command in COMMANDS:
    app.command(_command.name, help=_command.help)(command_function(_command))
