"""Options that several commands share, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AnyModel",
    "AsJson",
    "CorpusOptions",
    "CorpusSource",
    "DataCsv",
    "FeatureId",
    "Quiet",
    "SiteSelector",
    "SubjectName",
    "TextPaths",
    "VocabPath",
    "WeaponVocabPath",
    "WorkspaceFolder",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON envelope on stdout and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
WorkspaceFolder = Annotated[
    Path,
    typer.Option("--workspace", "-w", envvar="MECHSCOPE_WORKSPACE", help="The workspace, or any folder inside it."),
]
SubjectName = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A subject of the workspace. May be left out when there is only one."),
]
AnyModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        "--model-checkpoint",
        help="A subject of the workspace, a shipped model, a folder, or a hub id.",
    ),
]
SiteSelector = Annotated[
    str | None,
    typer.Option(
        "--site", "--hook-target", help="Where to read, such as resid_post:3, blocks.3.hook_resid_post or masked_mean."
    ),
]
CorpusSource = Annotated[
    str | None, typer.Option("--corpus", help="A corpus source: see `mechscope list corpus-sources`.")
]
CorpusOptions = Annotated[
    list[str] | None, typer.Option("--corpus-option", help="key=value for the corpus source; may be repeated.")
]
TextPaths = Annotated[list[str] | None, typer.Option("--text", help="A text file, folder or pattern; may be repeated.")]
DataCsv = Annotated[str | None, typer.Option("--data-csv", help="A CSV of tokenised builds.")]
VocabPath = Annotated[str | None, typer.Option("--vocab-path", help="JSON: token to id, for --data-csv.")]
WeaponVocabPath = Annotated[str | None, typer.Option("--weapon-vocab-path", help="JSON: weapon to id, for --data-csv.")]
FeatureId = Annotated[int, typer.Argument(metavar="FEATURE", help="The feature's integer id.", min=0)]
