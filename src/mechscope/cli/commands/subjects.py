"""`mechscope subjects`: the models that ship with the package, and the scripts that trained them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechscope.cli.options import AsJson, Quiet
from mechscope.cli.output import print_envelope, print_result, print_table, progress_for

__all__ = ["app"]

app = typer.Typer(help="The subjects that ship with the package.", no_args_is_help=True)


@app.command("list")
def list_subjects(as_json: AsJson = False) -> None:
    """List the shipped subjects with size, seed and held-out figures."""
    from mechscope.services.shipped import shipped_subjects

    found = shipped_subjects()
    if as_json:
        print_envelope("subjects list", [subject.to_json() for subject in found])
        return
    rows = [(s.name, s.n_parameters, s.n_bytes, s.seed, s.headline) for s in found]
    print_table("shipped subjects", ("name", "parameters", "bytes", "seed", "held-out figures"), rows)


@app.command("train")
def train(
    name: Annotated[str, typer.Argument(help="splatoon, agreement or pydocs.")],
    output: Annotated[Path, typer.Option(help="The folder to write the checkpoint to.")],
    spec: Annotated[Path | None, typer.Option(help="YAML with other training settings than the recorded ones.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a shipped subject again from its recorded seed."""
    from mechscope.services.shipped import train_subject

    record = train_subject(name, output, spec_path=spec, progress=progress_for(quiet=quiet))
    if as_json:
        print_envelope("subjects train", record)
    else:
        print_result([f"checkpoint written: {output}", f"record: {output / 'training_record.json'}"])
