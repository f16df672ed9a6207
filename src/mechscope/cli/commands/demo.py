"""`mechscope demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechscope.cli.options import AsJson, Quiet
from mechscope.cli.output import print_envelope, progress_for
from mechscope.cli.summary import print_job

__all__ = ["demo"]


def demo(
    subject: Annotated[str, typer.Option(help="splatoon, agreement or pydocs.")] = "splatoon",
    seed: Annotated[int, typer.Option(help="Seed of the corpus and of training.", min=0)] = 0,
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Where everything is kept; made when it is not there.")
    ] = Path("demo"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """The main job on a shipped subject: collect, train, build, match planted concepts, report."""
    from mechscope.services.demo import demo as run
    from mechscope.workspace import Workspace

    found = run(Workspace.open_or_create(workspace), subject, seed=seed, progress=progress_for(quiet=quiet))
    if as_json:
        print_envelope("demo", found.to_json())
    else:
        print_job(found, workspace)
