"""From the flags of an experiment's command to its spec, and from its result to what is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mechscope.cli.output import print_envelope, print_result, print_table
from mechscope.core import UsageError

if TYPE_CHECKING:
    from mechscope.experiments import ExperimentResult

__all__ = [
    "ExperimentCall",
    "print_experiment",
    "read_list",
    "read_numbers",
    "read_pairs",
    "read_settings",
    "read_token_pairs",
    "run_call",
]


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
        print_table(table.name, columns, rows, caption=table.caption)
    print_result(result.get_summary().splitlines())


def compact_table(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[tuple[str | int | float | None, ...]]]:
    """A table for a terminal: an estimate and its bounds in one column; what the bounds and the corrected p say again
    (standard error, raw p) and the estimates for the whole corpus stand in the result's file only."""
    from mechscope.experiments.tables import estimate_columns  # noqa: PLC0415  (help stays light)

    joined = estimate_columns(columns)
    dropped = {f"{prefix}{end}" for prefix in joined.values() for end in ("low", "high")} | {"std_error"}
    dropped |= {"p"} if "p_corrected" in columns else set()
    kept = [name for name in columns if name not in dropped and not name.startswith("corpus_")]
    shown = [
        tuple(
            _estimate(row.get(name), row.get(f"{joined[name]}low"), row.get(f"{joined[name]}high"))
            if name in joined
            else row.get(name)
            for name in kept
        )
        for row in rows
    ]
    return [f"{name} [95 %]" if name in joined else name for name in kept], shown


def _estimate(value: Any, low: Any, high: Any) -> str | None:
    if value is None:
        return None
    return f"{value:.3g}" if low is None or high is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def read_list(text: str | None) -> list[str] | None:
    """Names joined by commas; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


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
