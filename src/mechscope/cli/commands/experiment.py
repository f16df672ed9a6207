"""`mechscope experiment`: one question about one feature, observed or intervened; from flags or from spec files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechscope.cli.experiment_calls import ExperimentCall, read_list, read_numbers, read_settings, run_call
from mechscope.cli.options import AsJson, Quiet, SubjectName, WorkspaceFolder
from mechscope.cli.output import print_envelope, print_result, print_table, progress_for

__all__ = ["app"]

app = typer.Typer(
    help="Experiments on features: the same question observed and intervened, from one command or from specs.",
    no_args_is_help=True,
)

Feature = Annotated[int, typer.Option("--feature-id", "-f", help="The feature's integer id.", min=0)]
ModeName = Annotated[str | None, typer.Option("--mode", help="interventional or observational; by default the kind's.")]
StableTokens = Annotated[
    str | None,
    typer.Option("--stable-tokens", help="Tokens that every condition holds, such as comeback,stealth_jump."),
]
StableWeapon = Annotated[str | None, typer.Option("--stable-weapon", help="The weapon that every condition has.")]
SampleSize = Annotated[int | None, typer.Option("--sample-size", help="Base contexts, or rows, drawn.", min=1)]
Seed = Annotated[int, typer.Option("--seed", help="Every random choice derives from it.")]
OutputDir = Annotated[
    Path | None, typer.Option("--output-dir", help="Where specs/, results/ and figures/ go; by default the workspace.")
]
Figures = Annotated[bool, typer.Option("--figures", help="Draw the figures too.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value for a variable of the kind; may be repeated.")
]


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
    spec_path: Annotated[list[Path], typer.Option("--spec-path", help="A spec file (JSON or YAML); may be repeated.")],
    output_dir: OutputDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the specs and run nothing.")] = False,
    processes: Annotated[int, typer.Option("--processes", help="Processes that share a batch.", min=1)] = 1,
    workspace: WorkspaceFolder = Path(),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run spec files. A failing one is a result that says so, and stops no other."""
    from mechscope.services.experiments import check_specs, read_specs, run_specs
    from mechscope.workspace import Workspace

    files = read_specs(spec_path)
    if dry_run:
        checked = check_specs(files)
        if as_json:
            print_envelope("experiment run", {"dry_run": True, "specs": checked})
        else:
            rows = [
                (spec["path"], "ok" if spec["ok"] else "refused", spec.get("error") or spec["type"]) for spec in checked
            ]
            print_table("specs", ("file", "check", "type or error"), rows)
    else:
        done = run_specs(
            Workspace.open(workspace),
            files,
            output=output_dir,
            n_processes=processes,
            progress=progress_for(quiet=quiet or as_json),
        )
        checked = [
            {
                "path": str(file.path),
                "ok": result is not None and result.success,
                "error": error or (None if result is None else result.error_message),
                "result": None if result is None else result.to_json(),
            }
            for file, result, error in done
        ]
        if as_json:
            print_envelope("experiment run", {"dry_run": False, "specs": checked})
        else:
            shown = [(entry["path"], "done" if entry["ok"] else "failed", entry["error"] or "") for entry in checked]
            print_table("experiments", ("spec", "result", "error"), shown)
            summaries = [result.get_summary() for _, result, _ in done if result is not None and result.success]
            print_result([line for text in summaries for line in ("", *text.splitlines())])
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


@app.command("family-sweep")
def family_sweep(
    feature_id: Feature,
    family: Annotated[str, typer.Option("--family", help="Name or short name of the family.")],
    model: SubjectName = None,
    rungs: Annotated[str | None, typer.Option("--rungs", help="Rungs, such as 3,12,29; by default all.")] = None,
    stable_tokens: StableTokens = None,
    stable_weapon: StableWeapon = None,
    mode: ModeName = None,
    sample_size: SampleSize = None,
    seed: Seed = 0,
    output_dir: OutputDir = None,
    figures: Figures = False,
    workspace: WorkspaceFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """One family over its rungs."""
    variables: dict[str, Any] = {
        "family": family,
        "rungs": read_numbers(rungs),
        "stable_tokens": read_list(stable_tokens),
        "stable_weapon": stable_weapon,
    }
    call = ExperimentCall(
        "family_1d_sweep", feature_id, model, variables, mode, sample_size, seed, output_dir, figures, workspace
    )
    run_call(call, as_json=as_json)
