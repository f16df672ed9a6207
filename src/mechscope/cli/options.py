"""Options that several commands share, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Quiet", "SubjectName", "WorkspaceFolder"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON envelope on stdout and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
WorkspaceFolder = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        envvar="MECHSCOPE_WORKSPACE",
        help="The workspace, or any folder inside it.",
        show_default="here",
    ),
]
SubjectName = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A subject of the workspace. May be left out when there is only one."),
]
