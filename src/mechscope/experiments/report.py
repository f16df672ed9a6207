"""A stored result as a page: what it shows and how, its figures, its tables, what to beware of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.tables import ResultTable, estimate_columns
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import (
    Block,
    Cell,
    Column,
    Estimate,
    Heading,
    KeyFigure,
    KeyFigures,
    Note,
    Prose,
    Provenance,
    Report,
    Table,
    write_number,
)

__all__ = ["experiment_report"]


def experiment_report(result: ExperimentResult) -> Report:
    """The page of one result, from the result alone: equal results give equal pages."""
    blocks: list[Block] = [Heading(text="What it shows"), *_verdict(result), *_headline(result)]
    if result.figures:
        blocks += [Heading(text="Figures"), *result.figures.values()]
    tables = [_table(table) for table in result.tables.values() if table.rows]
    if tables:
        blocks += [Heading(text="Tables"), *tables]
    blocks += [Heading(text="How it was measured"), *_how(result)]
    subject = f" of {result.model_type}" if result.model_type else ""
    return Report(
        title=f"{result.experiment_type} on feature {result.feature_id}{subject}",
        subtitle=" · ".join(part for part in (result.evidence or "", result.description, result.spec_id) if part),
        blocks=tuple(blocks),
        provenance=_provenance(result),
    )


def _verdict(result: ExperimentResult) -> list[Block]:
    found: list[Block] = []
    if not result.success:
        found.append(Note(text=str(result.error_message), tone="bad", title="The experiment failed"))
    if result.evidence == OBSERVED:
        others = "\n".join(f"- {text}" for text in result.alternatives)
        text = "Rows were regrouped and nothing was changed: a difference between groups of rows is not an effect."
        found.append(
            Note(
                text=text + (f"\n\nWhat else would give the same numbers:\n\n{others}" if others else ""),
                tone="warning",
                title="Correlational",
            )
        )
    found += [Note(text=text, tone="good", title=f"Claim, {result.evidence}") for text in result.claims]
    found += [Note(text=text, tone="info", title="Worth a look") for text in result.findings]
    if result.success and not result.claims:
        found.append(Note(text="Nothing passed its corrected test and the held-out half.", title="No claim"))
    found += [Note(text=text, tone="warning") for text in result.diagnostics.warnings if _is_own(text)]
    return found


def _is_own(warning: str) -> bool:
    return not warning.startswith("CORRELATIONAL")


def _headline(result: ExperimentResult) -> list[Block]:
    aggregates, told = result.aggregates, result.diagnostics
    how = "interventional: paired differences" if result.evidence == CAUSAL else "observational: rows regrouped"
    items = []
    if aggregates.mean_delta is not None:
        spread = "" if aggregates.std_delta is None else f", standard deviation {write_number(aggregates.std_delta)}"
        items.append(
            KeyFigure(
                label="mean delta",
                value=aggregates.mean_delta,
                how=how + spread,
                n=aggregates.n_samples,
                n_unit="contexts" if result.evidence == CAUSAL else "rows",
            )
        )
    if told.relu_floor_rate is not None:
        items.append(
            KeyFigure(
                label="at the ReLU floor",
                value=told.relu_floor_rate,
                form="percent",
                how="contexts at zero in every condition",
                n=told.n_contexts_tested,
                n_unit="contexts",
            )
        )
    found: list[Block] = [KeyFigures(items=tuple(items))] if items else []
    rows = tuple((name, _plain(value)) for name, value in aggregates.custom.items() if value not in (None, "", []))
    if rows:
        found.append(Table(columns=(Column(name="aggregate", form="code"), Column(name="value")), rows=rows))
    return found


def _plain(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return write_number(value)
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    return "–" if value is None else str(value)


def _table(table: ResultTable) -> Table:
    joined = estimate_columns(table.columns)
    bounds = {f"{prefix}{end}" for prefix in joined.values() for end in ("low", "high")}
    names = [name for name in table.columns if name not in bounds]
    columns = tuple(
        Column(name=f"{name} [95 %]" if name in joined else name, form=_form(table.column(name))) for name in names
    )
    rows = tuple(tuple(_cell(row, name, joined) for name in names) for row in table.rows)
    return Table(columns=columns, rows=rows, title=table.name, caption=table.caption)


def _form(values: list[JsonValue]) -> Any:
    known = [value for value in values if value is not None and not isinstance(value, bool)]
    if known and all(isinstance(value, int) for value in known):
        return "integer"
    return "number" if known and all(isinstance(value, int | float) for value in known) else "text"


def _cell(row: Mapping[str, JsonValue], name: str, joined: Mapping[str, str]) -> Cell:
    value = row.get(name)
    if name in joined and isinstance(value, int | float):
        low, high = row.get(f"{joined[name]}low"), row.get(f"{joined[name]}high")
        if isinstance(low, int | float) and isinstance(high, int | float):
            return Estimate(value=value, low=low, high=high)
    return value if value is None or isinstance(value, bool | int | float | str) else _plain(value)


def _how(result: ExperimentResult) -> list[Block]:
    told = result.diagnostics
    lines = [
        *told.notes,
        f"{told.n_contexts_tested:,} contexts tested, {told.n_forwards:,} distinct inputs run through the model, "
        f"p-values corrected over {told.n_comparisons:,} comparisons",
    ]
    blocks: list[Block] = [Prose(text="\n".join(f"- {line}" for line in lines))]
    counted = [("rows of the slice", told.rows), ("left out", told.dropped)]
    for title, counts in counted:
        if counts:
            columns = (Column(name=title), Column(name="n", form="integer"))
            blocks.append(Table(columns=columns, rows=tuple(counts.items())))
    return blocks


def _provenance(result: ExperimentResult) -> Provenance:
    made = result.provenance
    environment, subject = made.get("environment"), made.get("subject")
    known: Mapping[str, Any] = environment if isinstance(environment, Mapping) else {}
    seed = made.get("seed")
    return Provenance(
        command=f"mechscope experiment run --spec-path {result.spec_path or 'SPEC.json'}",
        spec_digest=str(made.get("spec_digest") or ""),
        code_version=str(known.get("mechscope") or ""),
        seeds={"experiment": seed} if isinstance(seed, int) else {},
        packages=dict(known.get("packages") or {}),
        device=", ".join(str(known[name]) for name in ("device", "machine") if known.get(name)),
        wall_seconds=round(result.duration_seconds, 2),
        details={str(name): str(value) for name, value in subject.items()} if isinstance(subject, Mapping) else {},
    )
