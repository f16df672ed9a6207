"""From the flags of an experiment's command to its spec, and from its result to what is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mechscope.cli.experiment_tables import compact_table, fit_columns
from mechscope.cli.output import STDOUT, print_envelope, print_result, print_table
from mechscope.core import UsageError

if TYPE_CHECKING:
    from mechscope.experiments import ExperimentResult

__all__ = [
    "ExperimentCall",
    "print_batch",
    "print_experiment",
    "read_list",
    "read_names",
    "read_numbers",
    "read_pairs",
    "read_settings",
    "read_token_pairs",
    "run_call",
]

MOST_ROWS = 25


@dataclass(frozen=True)
class ExperimentCall:
    """One experiment as it was asked for; variables that are None are left to the kind."""

    kind: str
    feature_id: int
    model: str | None
    variables: dict[str, Any]
    mode: str | None
    sample_size: int | None
    seed: int
    output: Path | None
    figures: bool
    workspace: Path


def run_call(call: ExperimentCall, *, as_json: bool) -> None:
    """Run it, print its tables and summary, and leave with code 5 when it failed."""
    from mechscope.experiments import DatasetSlice, ExperimentSpec, Outputs  # noqa: PLC0415  (help stays light)
    from mechscope.services.experiment_pages import write_page  # noqa: PLC0415
    from mechscope.services.experiments import run_one  # noqa: PLC0415
    from mechscope.workspace import Workspace  # noqa: PLC0415

    given = {
        "type": call.kind,
        "feature_id": call.feature_id,
        "model_type": call.model,
        "variables": {name: value for name, value in call.variables.items() if value is not None},
        "dataset_slice": DatasetSlice(sample_size=call.sample_size),
        "outputs": Outputs(figures=call.figures),
        "mode": call.mode,
        "seed": call.seed,
    }
    spec = ExperimentSpec.parse(given, where="the command's options")
    result, path = run_one(Workspace.open(call.workspace), spec, output=call.output)
    page = write_page(result, path.parent.parent / "figures" / f"{path.stem}.html") if result.figures else None
    if as_json:
        print_envelope("experiment " + spec.type, {"file": str(path), **result.to_json()})
    else:
        print_experiment(result)
        print_result([f"result: {path}", *([] if page is None else [f"page: {page}"])])
    if not result.success:
        raise typer.Exit(5)


def print_experiment(result: ExperimentResult) -> None:
    """Its tables and its summary, for people."""
    for table in (table for table in result.tables.values() if table.rows):
        columns, rows = compact_table(table.columns, table.rows)
        columns, rows, left = fit_columns(columns, rows, STDOUT.width)
        more = [f"Columns without room here: {', '.join(left)}."] if left else []
        more += [f"The first {MOST_ROWS} of {len(rows)} rows; the file has all."] if len(rows) > MOST_ROWS else []
        print_table(table.name, columns, rows[:MOST_ROWS], caption=" ".join([table.caption, *more]).strip())
    print_result(result.get_summary().splitlines())


def print_batch(done: Sequence[tuple[Path | None, ExperimentResult | None]]) -> None:
    """The summary of every result that there is, the file it is kept in, and how its tables are shown."""
    lines: list[str] = []
    for path, result in done:
        if result is None:
            continue
        lines += ["", *result.get_summary().splitlines()] if result.success else []
        lines += [] if path is None else [f"result: {path}"]
    kept = [path for path, result in done if path is not None and result is not None and result.tables]
    lines += ["", f"tables and figures of a result: mechscope experiment show {kept[0]}"] if kept else []
    print_result(lines)


def read_list(text: str | None) -> list[str] | None:
    """Names joined by commas; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def read_names(text: str | None) -> dict[str, str] | None:
    """Groups with a name each, such as "class=Shooters,sub=Sprinkler"; None stays None. Raises UsageError."""
    parts = read_list(text)
    if parts is None:
        return None
    found: dict[str, str] = {}
    for part in parts:
        group, equals, name = (end.strip() for end in part.partition("="))
        if not (group and equals and name) or group in found:
            raise UsageError(
                f"{part!r} among {text!r}", expected="group=name, each group once", todo="write class=Shooters"
            )
        found[group] = name
    return found


def read_numbers(text: str | None) -> list[int] | None:
    """Whole numbers joined by commas. Raises UsageError."""
    parts = read_list(text)
    if parts is None:
        return None
    wrong = [part for part in parts if not part.isdecimal()]
    if wrong:
        raise UsageError(f"{wrong[0]!r} among {text!r}", expected="whole numbers joined by commas", todo="correct it")
    return [int(part) for part in parts]


def read_pairs(text: str | None) -> list[list[int]] | None:
    """Pairs such as "3:15,6:21"; None stays None. Raises UsageError."""
    parts = read_list(text)
    if parts is None:
        return None
    halves = [part.split(":") for part in parts]
    if wrong := [part for part, ends in zip(parts, halves, strict=True) if [e.isdecimal() for e in ends] != [True] * 2]:
        raise UsageError(
            f"{wrong[0]!r} among {text!r}", expected="pairs of whole numbers", todo="write them as 3:15,6:21"
        )
    return [[int(end) for end in ends] for ends in halves]


def read_token_pairs(text: str | None) -> list[list[str]] | None:
    """Pairs of names such as "comeback:haunt,comeback:SCU 12"; None stays None. Raises UsageError."""
    parts = read_list(text)
    if parts is None:
        return None
    halves = [[end.strip() for end in part.split(":")] for part in parts]
    if wrong := [part for part, ends in zip(parts, halves, strict=True) if len(ends) != 2 or not all(ends)]:
        raise UsageError(f"{wrong[0]!r} among {text!r}", expected="pairs of names", todo="write them as a:b,c:d")
    return halves


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs: JSON where it is some, a list where there are commas, else the text. Raises UsageError."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair!r}", expected="key=value", todo="for example --set family=special_charge_up")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text if "," not in text else [_value(part.strip()) for part in text.split(",")]
