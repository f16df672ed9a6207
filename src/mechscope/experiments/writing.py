"""A stored result in words: a summary in text, and the whole in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mechscope.reports import write_number

__all__ = ["markdown_of", "summary_of"]

FIRST = "DOES NOT APPLY"
"""Warnings that begin so (`findings.DOES_NOT_APPLY`) stand before the numbers."""


def summary_of(result: Mapping[str, Any]) -> str:
    """A few lines: what was measured, on how much, what it says, what to beware of."""
    return "\n".join(_summary_lines(result))


def markdown_of(result: Mapping[str, Any]) -> str:
    """A heading, the summary as a list, every table, and what the numbers rest on."""
    title = f"# {result['experiment_type']} of feature {result['feature_id']}"
    parts = [title, "\n".join(f"- {_escaped(line)}" for line in _summary_lines(result))]
    for table in result["tables"].values():
        parts.append(f"## {table['name']}")
        parts.append(table_markdown(table["columns"], table["rows"]))
        parts += [table["caption"]] if table["caption"] else []
    notes = result["diagnostics"]["notes"]
    parts += ["## How it was measured", "\n".join(f"- {_escaped(note)}" for note in notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def table_markdown(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(map(_escaped, columns))} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_escaped(_cell(row.get(name))) for name in columns)} |" for row in rows]
    return "\n".join(lines)


def _summary_lines(result: Mapping[str, Any]) -> Iterator[str]:
    aggregates, diagnostics = result["aggregates"], result["diagnostics"]
    subject = f" of {result['model_type']}" if result["model_type"] else ""
    how = f", {result['evidence']}" if result["evidence"] else ""
    if not result["success"]:
        yield f"FAILED: {result['error_message']}"
    yield f"{result['experiment_type']} on feature {result['feature_id']}{subject}{how} ({result['spec_id']})"
    warnings = diagnostics["warnings"]
    yield from (f"warning: {text}" for text in warnings if text.startswith(FIRST))
    if result["success"] or _is_measured(result):
        yield from _aggregate_lines(aggregates)
    yield from (f"claim: {text}" for text in result["claims"])
    yield from (f"finding: {text}" for text in result["findings"])
    if diagnostics["relu_floor_detected"]:
        yield f"ReLU floor: at zero in every condition for {100 * (diagnostics['relu_floor_rate'] or 0):.0f} %"
    yield from (f"warning: {text}" for text in warnings if not text.startswith(FIRST))
    if result["alternatives"]:
        yield "other explanations: " + "; ".join(result["alternatives"])
    yield f"{result['duration_seconds']:.2f} s"


def _is_measured(result: Mapping[str, Any]) -> bool:
    """Whether a failed experiment got as far as a number; before that its aggregates are settings alone."""
    has_rows = any(table["rows"] for table in result["tables"].values())
    return has_rows or result["aggregates"]["mean_delta"] is not None


def _aggregate_lines(aggregates: Mapping[str, Any]) -> Iterator[str]:
    if aggregates["mean_delta"] is not None:
        spread = f" (sd {_cell(aggregates['std_delta'])})" if aggregates["std_delta"] is not None else ""
        yield f"mean delta {_cell(aggregates['mean_delta'])}{spread}"
    if aggregates["n_samples"] is not None:
        yield f"n = {aggregates['n_samples']:,}"
    told = ((name, value) for name, value in aggregates["custom"].items() if value not in ("", [], {}))
    yield from (f"{name}: {_cell(value)}" for name, value in told)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(write_number(value))
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    return str(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
