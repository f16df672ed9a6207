"""`mechscope init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechscope.cli.options import AsJson
from mechscope.cli.output import print_envelope, print_result

__all__ = ["init"]


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make a workspace of.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a workspace: a folder with [bold]mechscope.toml[/bold], which names subjects."""
    from mechscope.workspace import WORKSPACE_FILE, Workspace

    workspace = Workspace.create(folder)
    if as_json:
        print_envelope("init", {"workspace": str(workspace.root)})
        return
    print_result(
        [
            f"workspace made: {workspace.root / WORKSPACE_FILE}",
            "next: `mechscope explore --model PATH_OR_ID --text FILE... --workspace "
            f"{folder}`, or `mechscope demo --workspace {folder}`",
        ]
    )
