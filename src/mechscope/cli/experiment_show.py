"""`mechscope experiment show`: a stored result again, in the terminal, as Markdown or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechscope.cli.experiment_calls import print_experiment
from mechscope.cli.options import AsJson
from mechscope.cli.output import print_envelope, print_result

__all__ = ["show"]


def show(
    result_path: Annotated[Path, typer.Argument(metavar="RESULT", help="The JSON file of a result.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write it as a page of one file, figures in it.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a stored result: its tables and summary, as Markdown, or as a page with its figures."""
    from mechscope.experiments import read_result  # noqa: PLC0415  (help stays light)
    from mechscope.services.experiment_pages import write_page  # noqa: PLC0415

    result = read_result(result_path)
    page = None if html is None else write_page(result, html)
    if as_json:
        print_envelope("experiment show", {"page": None if page is None else str(page), **result.to_json()})
    elif markdown:
        typer.echo(result.to_markdown())
    else:
        print_experiment(result)
        if page is not None:
            print_result([f"page: {page}"])
