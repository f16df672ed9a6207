"""`mechscope model`: what can be read and written in a model, and how well that was measured to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mechscope.cli.options import AsJson
from mechscope.cli.output import print_envelope, print_result, print_table
from mechscope.core import BadDataError

if TYPE_CHECKING:
    from mechscope.models import Check
    from mechscope.services.model_checks import CheckLine, ModelCheck
    from mechscope.services.model_sites import ModelSites

__all__ = ["app"]

app = typer.Typer(help="A model: its sites, and the check that they mean what they say.", no_args_is_help=True)

PATHS_SHOWN = 8

Source = Annotated[str, typer.Argument(metavar="PATH", help="A model folder, a hub id, or a shipped subject.")]


@app.command("verify")
def verify(
    source: Source,
    layer: Annotated[int | None, typer.Option(help="Every row of this layer.", min=0)] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Every row, layer by layer.")] = False,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 5 when a site is refused.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure, site by site, whether a model's parts are what they are taken to be.

    Always measured anew, on two short rows of random tokens. A site that fails is refused by name; the others stay.
    """
    from mechscope.services.model_checks import verify_model

    found = verify_model(source, dtype=dtype, device=device, layer=layer, all_rows=all_rows)
    if as_json:
        print_envelope("model verify", found.to_json())
        raise typer.Exit(BadDataError.exit_code if strict and not found.passed else 0)
    _show_check(found)
    if strict and not found.passed:
        raise BadDataError(
            f"{found.n_refused} sites of {found.model} are refused",
            expected="a model whose every site passes (--strict)",
            todo="correct the component map, or leave --strict away and use the sites that stand",
        )


@app.command("sites")
def sites(
    source: Source,
    select: Annotated[str | None, typer.Option(help="Show what a selector names, such as k:0:12:2.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the sites of a model with their shapes, and those that it has not, with the reason."""
    from mechscope.services.model_sites import list_sites

    found = list_sites(source, selector=select)
    if as_json:
        print_envelope("model sites", found.to_json())
    elif select is not None:
        rows = [(row.site, _shape(row.shape)) for row in found.selected]
        print_table(select, ("site", "shape"), rows)
        print_result([f"{len(rows)} sites of {found.model}"])
    else:
        _show_sites(found)


def _show_check(found: ModelCheck) -> None:
    title = f"{found.model}: {found.network} with {found.n_layers} layers, {found.dtype} on {found.device}"
    if found.rows:
        columns: tuple[str, ...] = ("check", "site", "relative error", "tolerance", "result")
        print_table(title, columns, [_row(check) for check in found.rows])
    else:
        columns = ("check", "what must hold", "sites", "worst error", "tolerance", "result")
        print_table(title, columns, _lines(found.lines))
    refused = f"{found.n_refused} refused" if found.n_refused else "none refused"
    print_result(
        [
            f"{found.n_standing} sites stand, {refused}; measured anew with torch {found.torch_version} "
            f"and transformers {found.transformers_version}",
            *(f"note: {note}" for note in found.notes),
        ]
    )


def _lines(lines: tuple[CheckLine, ...]) -> list[tuple[str, ...]]:
    """Lines for people: what must hold once a check, and checks without a number that pass in one line together."""
    found: list[tuple[str, ...]] = []
    checks = list(dict.fromkeys(line.check for line in lines))
    for check in checks:
        of_check = [line for line in lines if line.check == check]
        plain = [line for line in of_check if line.passed and line.tolerance is None]
        shown = [line for line in of_check if line not in plain]
        cells = [(line.sites, _number(line), _tolerance(line.tolerance), _result(line)) for line in shown]
        if plain:
            kinds = "each site" if not shown else "each other site"
            cells.append((f"{kinds} ({sum(line.n_sites for line in plain)})", "", "", "passed"))
        for index, cell in enumerate(cells):
            found.append((check, of_check[0].meaning if index == 0 else "", *cell))
    return found


def _row(check: Check) -> tuple[str, ...]:
    result = "passed" if check.passed else "REFUSED"
    note = f": {check.note}" if check.note else ""
    return check.name, check.site, _number(check), _tolerance(check.tolerance), result + note


def _number(row: CheckLine | Check) -> str:
    if row.tolerance is None:
        return ""
    return "not a number" if row.error is None else f"{row.error:.1e}" if row.error else "0"


def _tolerance(tolerance: float | None) -> str:
    return "" if tolerance is None else f"{tolerance:.0e}"


def _result(line: CheckLine) -> str:
    if line.passed:
        return "passed"
    part = "" if len(line.refused) == line.n_sites else f" {len(line.refused)} of {line.n_sites}"
    return f"REFUSED{part}" + (f": {line.note}" if line.note not in {"", line.meaning} else "")


def _show_sites(found: ModelSites) -> None:
    title = f"{found.model}: {found.network} with {found.n_layers} layers, {found.n_sites} sites"
    rows = [(group.sites, _shape(group.shape), group.meaning) for group in found.groups]
    print_table(title, ("sites", "shape", "what"), rows)
    if found.unreached:
        unreached = [(line.sites, line.how, line.reason) for line in found.unreached]
        print_table("sites that cannot be used", ("sites", "how", "why"), unreached)
    more = f" and {len(found.paths) - PATHS_SHOWN} more" if len(found.paths) > PATHS_SHOWN else ""
    print_result(
        [
            f"selectors: {found.selectors}",
            f"modules of a block by path: {', '.join(found.paths[:PATHS_SHOWN])}{more}",
            *(f"note: {note}" for note in found.notes),
        ]
    )


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"[{' '.join(map(str, shape))}]"
