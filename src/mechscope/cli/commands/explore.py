"""`mechscope explore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechscope.cli.options import AsJson, CorpusOptions, CorpusSource, Quiet, SiteSelector, WorkspaceFolder
from mechscope.cli.output import print_envelope, progress_for
from mechscope.cli.summary import print_job

__all__ = ["explore"]


def explore(
    model: Annotated[str, typer.Option("--model", "-m", help="A folder, a hub id, or a shipped model.")],
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A text file, folder or pattern; may be repeated.")
    ] = None,
    more_text: Annotated[list[str] | None, typer.Argument(help="More text files.", show_default=False)] = None,
    corpus: CorpusSource = None,
    corpus_option: CorpusOptions = None,
    site: SiteSelector = None,
    name: Annotated[str | None, typer.Option(help="The subject's name in the workspace. Default: the model's.")] = None,
    n_features: Annotated[int | None, typer.Option(help="Width of the dictionary.", min=1)] = None,
    k: Annotated[int | None, typer.Option(help="Features kept a sample.", min=1)] = None,
    n_steps: Annotated[int | None, typer.Option(help="Training steps.", min=1)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of text at most. Default: 1,000,000.", min=1)] = None,
    block_length: Annotated[
        int | None, typer.Option(help="Tokens a row. Default: 128, or what the model takes.")
    ] = None,
    n_shown: Annotated[int, typer.Option(help="Features shown in the report.", min=1)] = 12,
    seed: Annotated[int, typer.Option(help="Seed of sampling and training.", min=0)] = 0,
    workspace: WorkspaceFolder = Path("workspace"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Your model and your text, in one line: open and verify, collect, train, build, report.

    Every default is chosen from the sizes and printed; every step is cached, and goes on where it was stopped.
    """
    from mechscope.cli.corpus_request import corpus_request
    from mechscope.services.explore import ExploreSpec
    from mechscope.services.explore import explore as run
    from mechscope.workspace import Workspace

    request = corpus_request(corpus, corpus_option, [*(text or ()), *(more_text or ())])
    spec = ExploreSpec(
        model=model,
        corpus=request,
        name=name,
        site=site,
        n_features=n_features,
        k=k,
        n_steps=n_steps,
        max_tokens=max_tokens,
        block_length=block_length,
        n_shown=n_shown,
        seed=seed,
    )
    found = run(Workspace.open_or_create(workspace), spec, progress_for(quiet=quiet))
    if as_json:
        print_envelope("explore", found.to_json())
    else:
        print_job(found, workspace)
