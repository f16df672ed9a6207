"""The `mechscope` command: noun groups and one error handler.

Exit codes: 0 ok, 1 our bug, 2 usage, 3 not found, 4 conflict, 5 bad data.
"""

from __future__ import annotations

import sys

import typer

from mechscope import __version__
from mechscope.cli.commands import activations, demo, experiment, explore, features, init, listing, model, sae, subjects
from mechscope.cli.output import print_error
from mechscope.core import InternalError, UsageError, UserError

__all__ = ["app", "main"]

app = typer.Typer(
    name="mechscope",
    help="A workbench for mechanistic interpretability: from a model and its data to features that one can defend.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("explore")(explore.explore)
app.command("demo")(demo.demo)
app.command("list")(listing.list_kind)
app.add_typer(activations.app, name="activations")
app.add_typer(sae.app, name="sae")
app.add_typer(features.app, name="features")
app.add_typer(experiment.app, name="experiment")
app.add_typer(model.app, name="model")
app.add_typer(subjects.app, name="subjects")


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """Set up nothing: every command stands on its own."""
    if version:
        typer.echo(f"mechscope {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. Errors that the user can fix are shown without a traceback."""
    as_json = "--json" in sys.argv[1:]
    try:
        app()
    except UserError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; finished parts are kept, and the same command goes on from there\n")
        sys.exit(130)
    except SystemExit as done:
        if as_json and done.code == UsageError.exit_code:
            call = " ".join(sys.argv[1:])
            wrong = UsageError(f"the call is off: {call}", expected="see stderr", todo="correct it as --help shows")
            print_error(wrong, as_json=True)
        raise
    except Exception as error:
        # Our bug: the envelope for programs, the traceback for us.
        if as_json:
            print_error(InternalError(f"{type(error).__name__}: {error}"), as_json=True)
        raise
